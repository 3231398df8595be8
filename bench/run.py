#!/usr/bin/env python3
"""This project against every rival, on this machine: one command builds or installs them, gives all of them a model of the
same shape (and the same random weights, in each one's format), lets them take turns, and prints ratios.

    ratio = the rival's time / ours, so above 1 we are faster: the median over the rounds, with the least and the most

usage: run.py [--shape 1.5b|8b|tiny] [--only official,state,mutable,llama,torch] [--rounds N] [--threads N] [--cpu SET]
              [--short] [--no-install] [--folder DIR] [--build DIR] [--json FILE]

  official   the stock ExecuTorch runtime (XNNPACK) on the same file, int8 and int4 in groups of 32, 512 cached positions
  state      the same runtime over our export with the cache inside (--kv state), of 2048 positions
  mutable    the same runtime over what the official exporter makes of a decoder with a static cache of 2048 positions; a
             smaller model of the same layers, for both
  llama      llama.cpp: a diffusion step over the whole sequence, and decoding from left to right; Q8_0 against our int8,
             Q4_0 (embedding in Q8_0) against our int4
  torch      PyTorch, compiled with frozen weights, bfloat16 and float32, no cache

--cpu avx512 (or avx-vnni, avx2) compares what a lesser CPU has: our kernels of that set, the official runtime told that this CPU
lacks what is beyond it, llama.cpp compiled without it; the others cannot be told.

--shape 8b is LLaDA's, against llama.cpp alone: our dual cache, a token a pass, against its steps. --short takes a small
model and what is installed already, builds nothing, and ends after four minutes with what it has. Checkpoints, programs, and what
was built lie in --folder (default: build/rivals) and are used again; --shape 1.5b needs 25 GB of disk there and 12 GB of memory.

Beside the ratios stand this machine's limits, measured alone: reading memory, and arithmetic by instruction. Give a busy
machine no other work, or quote no number; what a rival that is missing lacks, or why one failed, is printed in its place.
Ctrl-C and SIGTERM end it with what was measured, printed and written; the status is the signal's.
"""
import argparse
import contextlib
import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import rivals
from heldout import cores, positive, processor
from lesser_cpu import LACKS
from rivals import ROOT, Missing, made, unfinished
from turns import Worker, finished

RIVALS = ("official", "state", "mutable", "llama", "torch")
LESSER = ("official", "llama")   # those that can be told of a CPU with fewer instructions
PAUSE = 0.05    # seconds between turns: threads of whoever was last go to sleep
SHORT_SECONDS, SHORT_TURNS_SECONDS = 240, 20    # of --short, and of what takes turns in it: rounds are left out then

# make_checkpoint's options, and what llama.cpp calls the same architecture in diffusion-cli.
SHAPES = {
    "1.5b": ("--family fast_dllm_v2 --size 1.5b", "dream"),
    "8b": ("--family llada --size 8b", "llada"),
    "layers": ("--family fast_dllm_v2 --size 1.5b --layers 4 --vocab 8192", "dream"),
    "tiny": ("--family fast_dllm_v2 --size 1.5b --layers 2 --vocab 8192", "dream"),
}


class Stopped(BaseException):
    """A signal came: no rival's failure, and the end of the run."""

    def __init__(self, number):
        super().__init__("the time of --short is over" if number == signal.SIGALRM else f"ended by {signal.Signals(number).name}")
        self.number = number


def stop(number, _):
    for one in SIGNALS:     # `timeout` sends two
        signal.signal(one, signal.SIG_IGN)
    raise Stopped(number)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Bench:
    """What a run has: where things lie, and what was found."""

    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.build = args.build
        self.environment = {"PYTHONPATH": str(ROOT / "python"), "DLX_BUILD_DIR": str(self.build)}
        self.comparisons, self.missing, self.probes = [], [], []
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")     # held as long as this process lives
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"run.py: another run uses {self.folder}; wait for it, or give this one another --folder")

    def say(self, text, passing=False):
        """On the standard error; what passes overwrites itself on a terminal, and is left out elsewhere."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
        elif not passing:
            print(text, file=sys.stderr, flush=True)

    def say_missing(self, name, why, measured):
        """measured: how many comparisons there were before this rival's turn."""
        rest = "the rest of it: " if len(self.comparisons) > measured else ""
        self.missing.append({"rival": name, "why": rest + why})

    # ---- files, made when they are first asked for

    def made(self, path, make):
        if not path.exists():
            self.say(f"making {path.name}")
        return made(path, make)

    def checkpoint(self, shape):
        tool = self.build / "tools/make_checkpoint"
        return self.made(self.folder / shape, lambda path: rivals.command(
            self.folder / "files.log", tool, *SHAPES[shape][0].split(), path))

    def program(self, shape, scheme, positions=1024, *more):
        name = "-".join([shape, scheme, str(positions), *(word for word in more if not word.startswith("--"))])
        checkpoint = self.checkpoint(shape)
        return self.made(self.folder / f"{name}.pte", lambda path: rivals.command(
            self.folder / "files.log", self.build / "cli/diffulex-edge", "export", checkpoint, path, "--quantization", scheme,
            "--max-seq-len", positions, *more))

    def gguf(self, shape, architecture, scheme):
        checkpoint = self.checkpoint(shape)
        python = rivals.python_with(self.folder, ["numpy"], self.args.install)
        return self.made(self.folder / f"{shape}-{architecture}-{scheme}.gguf", lambda path: rivals.command(
            self.folder / "files.log", python, "-c", "import sys; from rivals import write_gguf; write_gguf(*sys.argv[1:])",
            checkpoint, path, architecture, scheme, cwd=Path(__file__).parent))

    # ---- turns

    def native(self, path, context):
        return Worker("native", path, self.args.threads, context, self.args.cpu, environment=self.environment)

    def rival(self, kind, modules, *arguments):
        return Worker(kind, *arguments, python=rivals.python_with(self.folder, modules, self.args.install),
                      log=self.folder / "workers.log", environment=self.environment)

    def take_turns(self, rival, comparisons, *, pause=PAUSE, **more):
        """comparisons: (what, target or None, ours, theirs), two functions that give milliseconds. A function that stands in
        several is called once a round. Rounds that were whole count, whatever ends them; `more` is told with each comparison."""
        values = {f: [] for c in comparisons for f in c[2:]}
        try:
            self.rounds(rival, values, pause)
        finally:
            self.say("", passing=True)
            self.compare(rival, comparisons, values, more)

    def rounds(self, rival, values, pause):
        functions, begun = list(values), time.monotonic()
        for turn in range(self.args.rounds + 1):
            if self.args.short and turn > 1 and time.monotonic() - begun > SHORT_TURNS_SECONDS:
                break
            for f in functions if turn % 2 else functions[::-1]:
                self.say(f"{rival}: round {turn} of {self.args.rounds}" if turn else f"{rival}: warming up", passing=True)
                time.sleep(pause)
                ms = f()
                if turn:
                    values[f].append(ms)

    def compare(self, rival, comparisons, values, more):
        whole = min(map(len, values.values()))
        for what, target, ours, theirs in comparisons if whole else ():
            ratios = [b / a for a, b in zip(values[ours][:whole], values[theirs])]
            self.comparisons.append({
                "rival": rival, "what": what, "target": target, "rounds": whole, "ratio": statistics.median(ratios),
                "ratio_least": min(ratios), "ratio_most": max(ratios), "ours_ms": statistics.median(values[ours][:whole]),
                "theirs_ms": statistics.median(values[theirs][:whole]), "ours_ms_all": values[ours], "theirs_ms_all": values[theirs],
                **more})


def asks(worker, rows, context=0, divide=1.0):
    return lambda: worker.ask(rows, context)["ms"] / divide


def agreement(bench, ours, theirs, rows, context):
    """How far two runtimes' logits are apart, in parts of the largest."""
    from array import array
    both = []
    with unfinished(bench.folder) as folder:
        for worker, name in ((ours, "ours.logits"), (theirs, "theirs.logits")):
            worker.ask(rows, context, logits=str(folder / name))
            both.append(array("f", (folder / name).read_bytes()))
    most = max(map(abs, both[1]))
    return max(abs(a - b) for a, b in zip(*both)) / most if len(both[0]) == len(both[1]) and most else float("nan")


# ---- rivals ----------------------------------------------------------------------------------------------------------

def run_official(bench):
    shape, short = bench.args.shape, bench.args.short
    targets = {1: 1.2, 8: 1.5, 32: 1.3, 256: 1.3}
    context = 128 if short else 512
    cases = [(r, context) for r in ([1, 32] if short else [1, 8, 32, 256])] + ([] if short else [(256, 0)])
    for scheme in ("int8-dynamic", "int4-g32"):
        path = bench.program(shape, scheme)
        with bench.rival("official", ["torch", "executorch"], path, bench.args.threads, context, bench.args.cpu) as theirs, \
                bench.native(path, context) as ours:
            bench.take_turns("official", [(f"{scheme}, {r} rows " + (f"behind {c}" if c else "without a cache"), targets[r],
                                           asks(ours, r, c), asks(theirs, r, c)) for r, c in cases],
                             logits_apart=agreement(bench, ours, theirs, 8, context))


def run_state(bench):
    with bench.rival("kept", ["torch", "executorch"], bench.program(bench.args.shape, "int8-dynamic", 2048, "--kv", "state"),
                     bench.args.threads, 512) as theirs, \
            bench.native(bench.program(bench.args.shape, "int8-dynamic", 2048), 512) as ours:
        bench.take_turns("state", [(f"cache in the program, {r} rows behind 512 of 2048", None, asks(ours, r, 512), asks(theirs, r, 512))
                                   for r in (1, 8, 32)])


def run_mutable(bench):
    python = rivals.python_with(bench.folder, ["torch", "executorch", "torchao"], bench.args.install)
    checkpoint = bench.checkpoint("layers")
    path = bench.made(bench.folder / "layers-mutable.pte", lambda path: rivals.command(
        bench.folder / "files.log", python, "-c", "import sys; from torch_decoder import export_mutable; "
        "export_mutable(sys.argv[1], sys.argv[2], 32, 2048)", checkpoint, path, cwd=Path(__file__).parent))
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    with bench.rival("kept", ["torch", "executorch"], path, bench.args.threads, 512, "plain", vocabulary) as theirs, \
            bench.native(bench.program("layers", "int8-dynamic", 2048), 512) as ours:
        bench.take_turns("mutable", [("4 layers, official exporter, 32 rows behind 512 of 2048", 2.0, asks(ours, 32, 512),
                                      asks(theirs, 32, 512))])


def run_llama(bench):
    args = bench.args
    folder = rivals.llama(bench.folder, args.install, args.jobs, args.cpu)
    if args.shape == "8b":
        return run_llama_8b(bench, folder)
    blocks = 1.5 if args.cpu.startswith("avx") and not args.cpu.startswith("avx512") else 2.3
    whole, context, diffusion = (64, 128, SHAPES[args.shape][1]) if args.short else (256, 512, SHAPES[args.shape][1])
    for scheme, theirs in (("int8-dynamic", "Q8_0"), ("int4-g32", "Q4_0")):
        step_file, token_file = bench.gguf(args.shape, diffusion, theirs), bench.gguf(args.shape, "qwen2", theirs)

        def step(file=step_file):
            return rivals.diffusion_step(folder, file, args.threads, whole)

        def token(file=token_file):
            return rivals.left_to_right(folder, file, args.threads, context)
        with bench.native(bench.program(args.shape, scheme), context) as ours:
            bench.take_turns("llama.cpp", [
                (f"{theirs}, whole sequence of {whole}, a step", 2.7, asks(ours, whole), step),
                (f"{theirs}, its step of {whole} / our pass of 32 rows behind {context}", 18, asks(ours, 32, context), step),
                (f"{theirs}, a token from left to right / our pass of 1 row", 1.4, asks(ours, 1, context), token),
                (f"{theirs}, a token from left to right / our pass of 8 rows, 2.2 tokens each", blocks, asks(ours, 8, context, 2.2), token),
            ])


def run_llama_8b(bench, folder):
    """Prompt of 128 and 256 new tokens, one a pass: every block of 32 takes a pass over all 384 and 31 over itself."""
    program, file = bench.program("8b", "int8-dynamic", 512), bench.gguf("8b", "llada", "Q8_0")
    with bench.native(program, 128) as ours:
        bench.take_turns("llama.cpp", [("Q8_0, LLaDA 8B: a step of 384 / our dual cache, each a token", 20,
                                        lambda: (ours.ask(384)["ms"] + 31 * ours.ask(32, 128)["ms"]) / 32,
                                        lambda: rivals.diffusion_step(folder, file, bench.args.threads, 384))])


def run_torch(bench):
    checkpoint = bench.checkpoint(bench.args.shape)
    rows = (32,) if bench.args.short else (32, 256)
    with contextlib.ExitStack() as workers:
        ours = workers.enter_context(bench.native(bench.program(bench.args.shape, "int8-dynamic"), 0))
        theirs = [workers.enter_context(bench.rival("compiled", ["torch", "safetensors"], checkpoint, bench.args.threads, kind))
                  for kind in ("bfloat16", "float32")]
        bench.take_turns("torch", [(f"compiled {kind}, {r} rows, no cache", 1.9, asks(ours, r), asks(worker, r))
                                   for kind, worker in zip(("bfloat16", "float32"), theirs) for r in rows], pause=0.25)


RUN = {"official": run_official, "state": run_state, "mutable": run_mutable, "llama": run_llama, "torch": run_torch}


# ---- this machine ----------------------------------------------------------------------------------------------------

def limits(bench):
    """What diffulex_edge.probes() measures, in a process of its own."""
    said = finished([sys.executable, "-c", "import sys, json, diffulex_edge; print(json.dumps([p._asdict() for p in "
                     "diffulex_edge.probes(int(sys.argv[1]))]))", bench.args.threads], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True, env={**os.environ, **bench.environment})
    if said.returncode:
        sys.exit(f"run.py: the build in {bench.build} does not run: {said.stderr.strip().splitlines()[-1]}")
    return json.loads(said.stdout)


def put(report):
    limit = f" as far as {report['cpu_limit']}" if report["cpu_limit"] else ""
    print(f"{report['cpu']}{limit}, {report['threads']} threads; shape {report['shape']}, {report['rounds']} rounds")
    for p in report["probes"]:
        if p["per_second"]:
            unit = "GB/s" if p["kind"] == "read" else "GOPS"
            print(f"  {p['kind']:8s} {p['per_second'] / 1e9:8.1f} {unit}  {p['name']}{', in tiles' if p['tiles'] else ''}")
    if report["comparisons"]:
        print(f"\n{'ratio':>6s}  {'least .. most':16s} {'target':>6s}  {'ours, ms':>9s} {'theirs, ms':>10s}  rival")
    for c in report["comparisons"]:
        spread = f"({c['ratio_least']:.2f} .. {c['ratio_most']:.2f})"
        target = "" if c["target"] is None or report["short"] else f"{c['target']:g}"
        fewer = f" ({c['rounds']} of {report['rounds']} rounds)" if c["rounds"] < report["rounds"] else ""
        print(f"{c['ratio']:6.2f}  {spread:16s} {target:>6s}  {c['ours_ms']:9.2f} {c['theirs_ms']:10.2f}  {c['rival']}: {c['what']}{fewer}")
    for m in report["missing"]:
        print(f"not measured: {m['rival']}: {m['why']}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=("1.5b", "8b", "tiny"), help="default 1.5b, with --short tiny")
    parser.add_argument("--only", help=f"of {', '.join(RIVALS)}, with commas between them")
    parser.add_argument("--rounds", type=positive, help="default 7, with --short 3")
    parser.add_argument("--threads", type=positive, default=min(2, cores()))
    parser.add_argument("--cpu", choices=tuple(LACKS), default="", help="kernels of a lesser CPU, on both sides: official, llama")
    parser.add_argument("--short", action="store_true", help="a small model and what is installed: minutes become seconds")
    parser.add_argument("--no-install", dest="install", action="store_false", help="build and download nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/rivals")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="our release build")
    parser.add_argument("--jobs", type=positive, default=cores(), help="of building")
    parser.add_argument("--json", type=Path, help="write all numbers there, too")
    args = parser.parse_args()
    args.shape = args.shape or ("tiny" if args.short else "1.5b")
    args.rounds = args.rounds or (3 if args.short else 7)
    args.install = args.install and not args.short
    # Compiling takes PyTorch most of a minute, and exporting another: not in short.
    args.rivals = list(dict.fromkeys(args.only.split(","))) if args.only is not None else ["llama"] if args.shape == "8b" else \
        ["official", "llama"] if args.short or args.cpu else list(RIVALS)
    for name in args.rivals:
        if name not in RIVALS:
            parser.error(f"--only: '{name}' is none of {', '.join(RIVALS)}")
        if args.cpu and name not in LESSER:
            parser.error(f"--cpu: '{name}' cannot be told of a lesser CPU; {' and '.join(LESSER)} can")
    args.folder, args.build = args.folder.resolve(), args.build.resolve()
    if args.json:   # half an hour later is too late to hear of it; what stands there stays until then
        try:
            args.json = open(args.json, "a", encoding="utf-8")
        except OSError as error:
            parser.error(f"--json: {error.filename}: {error.strerror}")
    return args


def measure(bench):
    """All rivals in turn. One that fails, in whatever way, is said, and the next one's turn comes; a signal is the end of
    all. Returns its number, or 0."""
    left, measured = list(bench.args.rivals), 0
    try:
        with unfinished(bench.folder):
            pass    # what a killed run left there is removed
        bench.probes = limits(bench)
        while left:
            measured = len(bench.comparisons)
            try:
                RUN[left[0]](bench)
            except Exception as error:
                known = isinstance(error, (Missing, RuntimeError))
                bench.say_missing(left[0], str(error) if known else f"{type(error).__name__}: {error}", measured)
            del left[0]
    except Stopped as error:
        for name in left:
            bench.say_missing(name, str(error), measured)
            measured = len(bench.comparisons)
        return error.number
    return 0


def main():
    args = parse()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, stop)
    signal.alarm(SHORT_SECONDS if args.short else 0)
    bench = Bench(args)
    number = measure(bench)
    for one in SIGNALS:     # what was measured is told first
        signal.signal(one, signal.SIG_IGN)
    report = {"cpu": processor(), "cpu_limit": args.cpu, "threads": args.threads, "shape": args.shape, "short": args.short, "rounds": args.rounds,
              "probes": bench.probes, "comparisons": bench.comparisons, "missing": bench.missing}
    put(report)
    sys.stdout.flush()
    if args.json:
        if args.json.seekable():
            args.json.truncate(0)
        args.json.write(json.dumps(report, indent=1) + "\n")
        args.json.close()
    if number not in (0, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
