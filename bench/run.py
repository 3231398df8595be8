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
model and what is installed already, and builds nothing. Checkpoints, programs, and what was built lie in --folder (default:
build/rivals) and are used again; --shape 1.5b needs 25 GB of disk there and 12 GB of memory.

Beside the ratios stand this machine's limits, measured alone: reading memory, and arithmetic by instruction. Give a busy
machine no other work, or quote no number; what a rival that is missing lacks is printed in its place.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import rivals
from heldout import cores, positive, processor
from lesser_cpu import LACKS
from rivals import ROOT, Missing
from turns import Worker

RIVALS = ("official", "state", "mutable", "llama", "torch")
LESSER = ("official", "llama")   # those that can be told of a CPU with fewer instructions
PAUSE = 0.05    # seconds between turns: threads of whoever was last go to sleep

# make_checkpoint's options, and what llama.cpp calls the same architecture in diffusion-cli.
SHAPES = {
    "1.5b": ("--family fast_dllm_v2 --size 1.5b", "dream"),
    "8b": ("--family llada --size 8b", "llada"),
    "layers": ("--family fast_dllm_v2 --size 1.5b --layers 4 --vocab 8192", "dream"),
    "tiny": ("--family fast_dllm_v2 --size 1.5b --layers 2 --vocab 8192", "dream"),
}


class Bench:
    """What a run has: where things lie, and what was found."""

    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.build = args.build.resolve()
        self.environment = {"PYTHONPATH": str(ROOT / "python"), "DLX_BUILD_DIR": str(self.build)}
        self.comparisons, self.missing = [], []
        self.folder.mkdir(parents=True, exist_ok=True)

    def say(self, text, passing=False):
        """On the standard error; what passes overwrites itself on a terminal, and is left out elsewhere."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
        elif not passing:
            print(text, file=sys.stderr, flush=True)

    # ---- files, made when they are first asked for

    def made(self, path, make):
        if not path.exists():
            self.say(f"making {path.name}")
            make(path)
        return path

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
        return self.made(self.folder / f"{shape}-{architecture}-{scheme}.gguf",
                         lambda path: rivals.write_gguf(checkpoint, path, architecture, scheme))

    # ---- turns

    def native(self, path, context):
        return Worker("native", path, self.args.threads, context, self.args.cpu, environment=self.environment)

    def rival(self, kind, modules, *arguments):
        return Worker(kind, *arguments, python=rivals.python_with(self.folder, modules, self.args.install),
                      log=self.folder / "workers.log", environment=self.environment)

    def take_turns(self, rival, comparisons, *, pause=PAUSE):
        """comparisons: (what, target or None, ours, theirs), two functions that give milliseconds. A function that stands in
        several is called once a round."""
        functions = list(dict.fromkeys(f for c in comparisons for f in c[2:]))
        values = {f: [] for f in functions}
        for turn in range(self.args.rounds + 1):
            for f in functions if turn % 2 else functions[::-1]:
                self.say(f"{rival}: round {turn} of {self.args.rounds}" if turn else f"{rival}: warming up", passing=True)
                time.sleep(pause)
                ms = f()
                if turn:
                    values[f].append(ms)
        self.say("", passing=True)
        for what, target, ours, theirs in comparisons:
            ratios = [b / a for a, b in zip(values[ours], values[theirs])]
            self.comparisons.append({
                "rival": rival, "what": what, "target": target, "ratio": statistics.median(ratios), "ratio_least": min(ratios),
                "ratio_most": max(ratios), "ours_ms": statistics.median(values[ours]), "theirs_ms": statistics.median(values[theirs]),
                "ours_ms_all": values[ours], "theirs_ms_all": values[theirs]})


def asks(worker, rows, context=0, divide=1.0):
    return lambda: worker.ask(rows, context)["ms"] / divide


def agreement(bench, ours, theirs, rows, context):
    """How far two runtimes' logits are apart, in parts of the largest."""
    from array import array
    both = []
    for worker, name in ((ours, "ours.logits"), (theirs, "theirs.logits")):
        path = bench.folder / name
        worker.ask(rows, context, logits=str(path))
        both.append(array("f", path.read_bytes()))
        path.unlink()
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
        theirs = bench.rival("official", ["torch", "executorch"], path, bench.args.threads, context, bench.args.cpu)
        ours = bench.native(path, context)
        try:
            far = agreement(bench, ours, theirs, 8, context)
            bench.take_turns("official", [(f"{scheme}, {r} rows " + (f"behind {c}" if c else "without a cache"), targets[r],
                                           asks(ours, r, c), asks(theirs, r, c)) for r, c in cases])
            for c in bench.comparisons[-len(cases):]:
                c["logits_apart"] = far
        finally:
            ours.close()
            theirs.close()


def run_state(bench):
    theirs = bench.rival("kept", ["torch", "executorch"], bench.program(bench.args.shape, "int8-dynamic", 2048, "--kv", "state"),
                         bench.args.threads, 512)
    ours = bench.native(bench.program(bench.args.shape, "int8-dynamic", 2048), 512)
    try:
        bench.take_turns("state", [(f"cache in the program, {r} rows behind 512 of 2048", None, asks(ours, r, 512), asks(theirs, r, 512))
                                   for r in (1, 8, 32)])
    finally:
        ours.close()
        theirs.close()


def run_mutable(bench):
    python = rivals.python_with(bench.folder, ["torch", "executorch", "torchao"], bench.args.install)
    checkpoint = bench.checkpoint("layers")
    path = bench.made(bench.folder / "layers-mutable.pte", lambda path: rivals.command(
        bench.folder / "files.log", python, "-c", "import sys; from torch_decoder import export_mutable; "
        "export_mutable(sys.argv[1], sys.argv[2], 32, 2048)", checkpoint, path, cwd=Path(__file__).parent))
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    theirs = bench.rival("kept", ["torch", "executorch"], path, bench.args.threads, 512, "plain", vocabulary)
    ours = bench.native(bench.program("layers", "int8-dynamic", 2048), 512)
    try:
        bench.take_turns("mutable", [("4 layers, official exporter, 32 rows behind 512 of 2048", 2.0, asks(ours, 32, 512),
                                      asks(theirs, 32, 512))])
    finally:
        ours.close()
        theirs.close()


def run_llama(bench):
    args = bench.args
    folder = rivals.llama(bench.folder, args.install, args.jobs, args.cpu)
    if args.shape == "8b":
        return run_llama_8b(bench, folder)
    blocks = 1.5 if args.cpu.startswith("avx") and not args.cpu.startswith("avx512") else 2.3
    whole, context, diffusion = (64, 128, SHAPES[args.shape][1]) if args.short else (256, 512, SHAPES[args.shape][1])
    for scheme, theirs in (("int8-dynamic", "Q8_0"), ("int4-g32", "Q4_0")):
        step_file, token_file = bench.gguf(args.shape, diffusion, theirs), bench.gguf(args.shape, "qwen2", theirs)
        ours = bench.native(bench.program(args.shape, scheme), context)

        def step(file=step_file):
            return rivals.diffusion_step(folder, file, args.threads, whole)

        def token(file=token_file):
            return rivals.left_to_right(folder, file, args.threads, context)
        try:
            bench.take_turns("llama.cpp", [
                (f"{theirs}, whole sequence of {whole}, a step", 2.7, asks(ours, whole), step),
                (f"{theirs}, its step of {whole} / our pass of 32 rows behind {context}", 18, asks(ours, 32, context), step),
                (f"{theirs}, a token from left to right / our pass of 1 row", 1.4, asks(ours, 1, context), token),
                (f"{theirs}, a token from left to right / our pass of 8 rows, 2.2 tokens each", blocks, asks(ours, 8, context, 2.2), token),
            ])
        finally:
            ours.close()


def run_llama_8b(bench, folder):
    """Prompt of 128 and 256 new tokens, one a pass: every block of 32 takes a pass over all 384 and 31 over itself."""
    ours = bench.native(bench.program("8b", "int8-dynamic", 512), 128)
    file = bench.gguf("8b", "llada", "Q8_0")

    def block():
        return (ours.ask(384)["ms"] + 31 * ours.ask(32, 128)["ms"]) / 32
    try:
        bench.take_turns("llama.cpp", [("Q8_0, LLaDA 8B: a step of 384 / our dual cache, each a token", 20, block,
                                        lambda: rivals.diffusion_step(folder, file, bench.args.threads, 384))])
    finally:
        ours.close()


def run_torch(bench):
    checkpoint = bench.checkpoint(bench.args.shape)
    rows = (32,) if bench.args.short else (32, 256)
    ours = bench.native(bench.program(bench.args.shape, "int8-dynamic"), 0)
    theirs = []
    try:
        for kind in ("bfloat16", "float32"):
            theirs.append(bench.rival("compiled", ["torch", "safetensors"], checkpoint, bench.args.threads, kind))
        bench.take_turns("torch", [(f"compiled {kind}, {r} rows, no cache", 1.9, asks(ours, r), asks(worker, r))
                                   for kind, worker in zip(("bfloat16", "float32"), theirs) for r in rows], pause=0.25)
    finally:
        for worker in [ours, *theirs]:
            worker.close()


RUN = {"official": run_official, "state": run_state, "mutable": run_mutable, "llama": run_llama, "torch": run_torch}


# ---- this machine ----------------------------------------------------------------------------------------------------

def limits(bench):
    """What diffulex_edge.probes() measures, in a process of its own."""
    said = subprocess.run([sys.executable, "-c", "import sys, json, diffulex_edge; print(json.dumps([p._asdict() for p in "
                           "diffulex_edge.probes(int(sys.argv[1]))]))", str(bench.args.threads)], capture_output=True, text=True,
                          env={**os.environ, **bench.environment})
    if said.returncode:
        sys.exit(said.stderr)
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
        print(f"{c['ratio']:6.2f}  {spread:16s} {target:>6s}  {c['ours_ms']:9.2f} {c['theirs_ms']:10.2f}  {c['rival']}: {c['what']}")
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
    args.rivals = args.only.split(",") if args.only else ["llama"] if args.shape == "8b" else \
        ["official", "llama"] if args.short or args.cpu else list(RIVALS)
    for name in args.rivals:
        if name not in RIVALS:
            parser.error(f"--only: '{name}' is none of {', '.join(RIVALS)}")
        if args.cpu and name not in LESSER:
            parser.error(f"--cpu: '{name}' cannot be told of a lesser CPU; {' and '.join(LESSER)} can")
    return args


def main():
    args = parse()
    bench = Bench(args)
    probes = limits(bench)
    for name in args.rivals:
        try:
            RUN[name](bench)
        except (Missing, RuntimeError) as error:
            bench.missing.append({"rival": name, "why": str(error)})
    report = {"cpu": processor(), "cpu_limit": args.cpu, "threads": args.threads, "shape": args.shape, "short": args.short, "rounds": args.rounds,
              "probes": probes, "comparisons": bench.comparisons, "missing": bench.missing}
    put(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
