"""bench/run.py: the same weights in the rival's format, turns and ratios, and what is said of rivals that are missing, fail, or
are interrupted; and what the small scripts beside it refuse."""
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from oracles import oracle

from program import CLI, DATA, DEMO, ROOT, export

SCRIPT = ROOT / "bench" / "run.py"
sys.path.insert(0, str(SCRIPT.parent))
import lesser_cpu  # noqa: E402
import rivals  # noqa: E402
import run  # noqa: E402
from turns import Worker  # noqa: E402

ENVIRONMENT = {"PYTHONPATH": str(ROOT / "python")}


class Gguf:
    """A GGUF file, read by its specification."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, version, tensors, values = struct.unpack("<4sIQQ", self.file.read(24))
        assert (magic, version) == (b"GGUF", 3)
        self.values = {}
        for _ in range(values):
            key = self.text()
            self.values[key] = self.value(*self.take("<I"))
        infos = {}
        for _ in range(tensors):
            name, n = self.text(), self.take("<I")[0]
            infos[name] = (self.take(f"<{n}Q"), *self.take("<IQ"))
        begin = -(-self.file.tell() // 32) * 32
        self.tensors = {name: self.tensor(dims, kind, begin + at) for name, (dims, kind, at) in infos.items()}
        assert self.file.read() == b"" or max(at for _, _, at in infos.values())

    def take(self, form):
        return struct.unpack(form, self.file.read(struct.calcsize(form)))

    def text(self):
        return self.file.read(self.take("<Q")[0]).decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            of, n = self.take("<IQ")
            return [self.value(of) for _ in range(n)]
        return self.take({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind])[0]

    def tensor(self, dims, kind, at):
        """(kind, the floats that it stands for)"""
        n = int(numpy.prod(dims))
        self.file.seek(at)
        if kind == 0:
            return kind, numpy.frombuffer(self.file.read(4 * n), "<f4").reshape(dims[::-1])
        raw = numpy.frombuffer(self.file.read(n // 32 * {8: 34, 2: 18}[kind]), numpy.uint8).reshape(n // 32, -1)
        d = raw[:, :2].copy().view("<f2").astype(numpy.float32)
        if kind == 8:
            q = raw[:, 2:].view(numpy.int8).astype(numpy.float32)
        else:
            q = numpy.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], 1).astype(numpy.float32) - 8
        return kind, (d * q).reshape(dims[::-1])


@pytest.mark.parametrize("model,architecture,scheme", [("fast_dllm_v2-tiny", "dream", "Q8_0"), ("fast_dllm_v2-tiny", "qwen2", "Q4_0"),
                                                       ("llada-tiny", "llada", "Q8_0")])
def test_gguf_has_the_checkpoints_weights(tmp_path, model, architecture, scheme):
    folder = DATA / "checkpoints" / model
    path = tmp_path / "m.gguf"
    rivals.write_gguf(folder, path, architecture, scheme)
    g, checkpoint = Gguf(path), rivals.Checkpoint(folder)
    v, config = g.values, checkpoint.config
    assert v["general.architecture"] == architecture
    assert v[f"{architecture}.embedding_length"] == config.get("hidden_size", config.get("d_model"))
    assert v[f"{architecture}.vocab_size"] == len(v["tokenizer.ggml.tokens"]) == len(set(v["tokenizer.ggml.tokens"]))
    assert len(v["tokenizer.ggml.token_type"]) == len(v["tokenizer.ggml.tokens"])
    assert (f"{architecture}.attention.causal" in v) == (architecture != "qwen2")
    pairs = rivals.names_of(checkpoint, architecture)
    assert len(pairs) == len(g.tensors) == len([n for n in checkpoint.tensors])     # none is left out
    for theirs, ours in pairs:
        shape = checkpoint.tensors[theirs][2]
        want = checkpoint.rows(theirs, 0, shape[0] if len(shape) > 1 else 1)
        kind, have = g.tensors[ours]
        assert have.shape == want.shape
        if len(shape) == 1:
            assert kind == 0 and (have == want).all()
            continue
        assert kind == (2 if scheme == "Q4_0" and ours.startswith("blk.") else 8)
        step = numpy.abs(want.reshape(-1, 32)).max(1) / (127 if kind == 8 else 8)
        wrong = numpy.abs(have - want).reshape(-1, 32).max(1)
        assert (wrong <= step * (0.51 if kind == 8 else 1.01) + 1e-7).all()     # -8 .. 7: one end is cut


def test_steps_are_told_apart():
    said = ("0.00.127.877 I diffusion step: 0/4 [          ] 0%0.01.008.536 I diffusion step: 1/4 [===]\r25%0.01.900.000 I \n"
            "diffusion step: 2/4 [====] 50%1.02.000.500 I diffusion step: 3/4")
    assert rivals.step_times(said) == pytest.approx([880.659, 891.464, 60100.5])
    assert rivals.step_times("0.00.100.000 I diffusion step: 0/4") == []


def fixed(values):
    left = list(values)
    return lambda: left.pop(0)


def test_ratios_are_those_of_rounds(tmp_path):
    bench = run.Bench(SimpleNamespace(folder=tmp_path, build=tmp_path, rounds=3, threads=1, short=False))
    ours = fixed([99, 10, 20, 10])      # the first is warming up
    bench.take_turns("r", [("a", 1.5, ours, fixed([99, 20, 30, 40])), ("b", None, ours, fixed([99, 5, 10, 5]))], pause=0)
    a, b = bench.comparisons
    assert (a["ratio"], a["ratio_least"], a["ratio_most"]) == (2.0, 1.5, 4.0)
    assert (b["ratio"], a["ours_ms"], a["theirs_ms"]) == (0.5, 10, 30)


def bench_in(folder, **more):
    return run.Bench(SimpleNamespace(**{"folder": folder, "build": folder, "rounds": 3, "threads": 1, "short": False, "install": False, **more}))


def failing(values, error):
    """A function that gives these, and then fails."""
    left = list(values)

    def ask():
        if not left:
            raise error
        return left.pop(0)
    return ask


def test_a_failure_loses_nothing(tmp_path, monkeypatch):
    """Whatever a rival dies of, what was measured stays, and the next one has its turn; a signal is the end."""
    def official(bench):
        bench.take_turns("official", [("a", None, fixed([9, 1, 1, 1]), failing([9, 2, 4], OSError(28, "No space left on device")))], pause=0)

    def state(_):
        raise rivals.Missing("nobody is at home")

    def mutable(bench):
        bench.take_turns("mutable", [("b", None, fixed([9, 1, 1, 1]), failing([9, 3], run.Stopped(signal.SIGTERM)))], pause=0)
    monkeypatch.setattr(run, "limits", lambda bench: ["read"])
    monkeypatch.setattr(run, "RUN", {"official": official, "state": state, "mutable": mutable})
    bench = bench_in(tmp_path, rivals=["official", "state", "mutable", "llama"])
    assert run.measure(bench) == signal.SIGTERM
    assert [(c["what"], c["rounds"], c["ratio"]) for c in bench.comparisons] == [("a", 2, 3.0), ("b", 1, 3.0)]
    assert [(m["rival"], m["why"]) for m in bench.missing] == [
        ("official", "the rest of it: OSError: [Errno 28] No space left on device"), ("state", "nobody is at home"),
        ("mutable", "the rest of it: ended by SIGTERM"), ("llama", "ended by SIGTERM")]


def test_short_leaves_rounds_out(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SHORT_TURNS_SECONDS", 0)
    bench = bench_in(tmp_path, short=True)
    bench.take_turns("r", [("a", None, fixed([9, 1]), fixed([9, 2]))], pause=0)
    assert bench.comparisons[0]["rounds"] == 1


@pytest.mark.parametrize("number,status", [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGALRM, 0)])
def test_signals_end_with_what_was_measured(tmp_path, number, status):
    """Ctrl-C, `timeout`, and the end of --short's time, while another program runs, which ends as well."""
    program, began, out = tmp_path / "llama/bin/llama-bench", tmp_path / "began", tmp_path / "out.json"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho $$ >{began}.new && mv {began}.new {began}\nexec sleep 600\n")
    program.chmod(0o755)
    child = subprocess.Popen([sys.executable, "-c", "import run; run.limits = lambda bench: []; run.main()", "--only", "llama", "--folder",
                              tmp_path, "--json", out], cwd=SCRIPT.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not began.exists() and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(number)
        said, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    why = "the time of --short is over" if number == signal.SIGALRM else f"ended by {number.name}"
    assert (child.returncode, errors) == (status, "") and f"not measured: llama: {why}\n" in said
    assert json.loads(out.read_text())["missing"] == [{"rival": "llama", "why": why}]
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)


def test_files_are_whole_or_not_there(tmp_path):
    def cut(path):
        path.write_text("hal")
        raise OSError("the disk is full")
    with pytest.raises(OSError, match="the disk is full"):
        rivals.made(tmp_path / "file", cut)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "file").mkdir()   # of a run that was killed
    rivals.made(tmp_path / "file", lambda path: path.write_text("whole"))
    assert rivals.made(tmp_path / "file", cut).read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_source_of_llama(tmp_path):
    """A damaged archive is said and leaves no half of itself; a program that was half linked is none."""
    name = "llama_cpp_python-1.2"
    lists = tmp_path / "new" / name / "vendor/llama.cpp/CMakeLists.txt"
    lists.parent.mkdir(parents=True)
    lists.write_bytes(os.urandom(40000))
    with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "new" / name, name)
    archive = tmp_path / f"{name}.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:20000])
    with pytest.raises(rivals.Missing, match="is damaged .*; remove it"):
        rivals.llama_source(tmp_path, tmp_path / "log")
    assert not (tmp_path / name).exists()
    archive.write_bytes(whole)
    assert (rivals.llama_source(tmp_path, tmp_path / "log") / "CMakeLists.txt").read_bytes() == lists.read_bytes()
    half = tmp_path / "half"
    half.write_bytes(Path("/bin/true").read_bytes()[:3000])
    half.chmod(0o755)
    assert rivals.starts("/bin/true") and not rivals.starts(half) and not rivals.starts(tmp_path / "none")


def test_gguf_needs_numpy(tmp_path, monkeypatch):
    """Of any Python that has it."""
    (tmp_path / "tiny").symlink_to(DATA / "checkpoints" / "fast_dllm_v2-tiny")
    bench = bench_in(tmp_path)
    assert "token_embd.weight" in Gguf(bench.gguf("tiny", "dream", "Q8_0")).tensors
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(rivals, "ROOT", tmp_path)
    with pytest.raises(rivals.Missing, match="numpy is not installed"):
        bench.gguf("tiny", "dream", "Q4_0")


def test_arguments(tmp_path, monkeypatch, capsys):
    """What cannot be written is told before anything is measured; folders are of where the script was called."""
    monkeypatch.chdir(tmp_path)
    for words, said in ((["--json", "none/out.json"], "--json: none/out.json: No such file"), (["--only", ""], "'' is none of")):
        monkeypatch.setattr(sys, "argv", ["run.py", *words])
        with pytest.raises(SystemExit):
            run.parse()
        assert said in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["run.py", "--folder", "here", "--build", "there"])
    args = run.parse()
    assert (args.folder, args.build) == (tmp_path / "here", tmp_path / "there")
    bench = bench_in(tmp_path)
    with pytest.raises(SystemExit, match="another run uses"):
        bench_in(bench.folder)


def script(name, *words):
    return subprocess.run([sys.executable, SCRIPT.parent / name, *map(str, words)], capture_output=True, text=True, timeout=300)


def test_clients_of_any_family(tmp_path):
    """The options are those of the file's algorithm; a server that does not start or refuses says so once."""
    path = export(DEMO, tmp_path / "m.pte")
    done = script("serve_clients.py", path, "--clients", "1,2", "--turns", 1, "--tokens", 4)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr
    wrong = script("serve_clients.py", path, "--clients", 2, "--diffusion", '{"strategy": "low_confidence_static"}')
    assert wrong.returncode == 1 and wrong.stderr.startswith("serve_clients.py: the server refused: ") and "Traceback" not in wrong.stderr
    none = script("serve_clients.py", tmp_path / "none.pte")
    assert none.returncode == 1 and len(none.stderr.splitlines()) == 1 and "none.pte" in none.stderr


def test_what_other_scripts_refuse(tmp_path):
    for words, said in ((("predict.py", tmp_path), "has no compiled kernels"),
                        (("compare_builds.py", "m.pte", "--before", "a", "--after", "b", "--repeats", 0), "at least 1 is needed")):
        done = script(*words)
        assert done.returncode == 2 and said in done.stderr


def test_rivals_that_are_missing_are_named(tmp_path):
    with pytest.raises(rivals.Missing, match="llama.cpp is not built"):
        rivals.llama(tmp_path, False, 1)
    with pytest.raises(rivals.Missing, match="no_such_module"):
        rivals.python_with(tmp_path, ["no_such_module"], False)
    with pytest.raises(rivals.Missing, match="its output is in"):
        rivals.command(tmp_path / "log", sys.executable, "-c", "raise SystemExit('broken')")
    assert "broken" in (tmp_path / "log").read_text()


HEADER = """struct cpuinfo_x86_isa {
#if CPUINFO_ARCH_X86
    bool rdtsc;
#endif
    bool msr;
#if CPUINFO_ARCH_X86_64
    bool avx2; /* two */
#endif
    bool avx512f;
};
"""


def test_members_of_a_cpu():
    """As x86-64 compiles the structure; anything else in it is not guessed at."""
    assert lesser_cpu.members(HEADER) == ["msr", "avx2", "avx512f"]
    for wrong in (HEADER.replace("bool msr", "int msr"), HEADER.replace("bool msr;", "#if A\nbool msr;\n#endif")):
        with pytest.raises(RuntimeError, match="not known here"):
            lesser_cpu.members(wrong)


def test_a_lesser_cpu():
    """What is hidden from one rival is not compiled into the other."""
    assert {"avx512vnni", "avxvnni"} < lesser_cpu.LACKS["avx512"] < lesser_cpu.LACKS["avx2"]
    for cpu, theirs in rivals.LLAMA_SETS.items():
        compiled = {{"AVX512": "avx512f"}.get(name, name.lower().replace("_", "")) for name in theirs}
        assert not compiled & lesser_cpu.LACKS[cpu]
    wrong = subprocess.run([sys.executable, SCRIPT, "--cpu", "avx2", "--only", "torch"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "'torch' cannot be told of a lesser CPU; official and llama can" in wrong.stderr


def test_workers(tmp_path):
    """Two runtimes on one file answer alike, on a lesser CPU; a process that fails is said."""
    oracle("executorch", "the rival that takes turns with us is")
    path = export(DATA / "checkpoints" / "fast_dllm_v2-tiny", tmp_path / "m.pte", "int8-dynamic", "--max-seq-len", "64")
    bench = SimpleNamespace(folder=tmp_path)
    ours = Worker("native", path, 1, 32, "avx2", environment=ENVIRONMENT)
    theirs = Worker("official", path, 1, 32, "avx2", log=tmp_path / "log", environment=ENVIRONMENT)
    assert ours.about["kernels"] == "avx2" and "avx2" not in theirs.about["hidden"]
    assert ("avx512f" in theirs.about["hidden"]) == (" avx512f " in Path("/proc/cpuinfo").read_text())
    assert ours.ask(8, 32)["ms"] > 0 and theirs.ask(1, 32)["ms"] > 0
    assert run.agreement(bench, ours, theirs, 8, 32) < 0.02
    first, again = (ours.ask(4, 0, digest=True)["digest"] for _ in range(2))
    assert first == again != ours.ask(4, 32, digest=True)["digest"]
    ours.close()
    with pytest.raises(ZeroDivisionError), theirs:
        print(1 / 0)
    assert theirs.process.returncode == -signal.SIGTERM
    with pytest.raises(RuntimeError, match="the process of native ended"):
        Worker("native", tmp_path / "none.pte", 1, 0, log=tmp_path / "log", environment=ENVIRONMENT)


def test_torch_decoder_answers_as_the_file_does(tmp_path):
    torch = oracle("torch", "the decoder that PyTorch compiles is")
    from torch_decoder import Decoder
    folder = DATA / "checkpoints" / "fast_dllm_v2-tiny"
    path = export(folder, tmp_path / "m.pte", "none", "--max-seq-len", "64")
    ours = Worker("native", path, 1, 0, environment=ENVIRONMENT)
    ours.ask(8, 0, logits=str(tmp_path / "logits"))
    ours.close()
    want = numpy.fromfile(tmp_path / "logits", numpy.float32).reshape(8, -1)
    ids = torch.tensor([(i * 2654435761 >> 8) % want.shape[1] for i in range(8)])
    with torch.no_grad():
        got = Decoder(folder)(ids, torch.arange(8)).numpy()
        kept = Decoder(folder, positions=32)
        in_two = numpy.concatenate([kept(ids[:4], torch.arange(4)).numpy(), kept(ids[4:], torch.arange(4, 8)).numpy()])
        alone = Decoder(folder)(ids[:4], torch.arange(4)).numpy()
    scale = numpy.abs(want).max()
    assert numpy.abs(got - want).max() < 1e-4 * scale
    assert numpy.abs(in_two[:4] - alone).max() < 1e-4 * scale and numpy.isfinite(in_two).all()


def test_short_run(tmp_path):
    """Everything but numbers: what is compared, and what is missing where it is not installed."""
    done = subprocess.run([sys.executable, SCRIPT, "--short", "--only", "llama", "--rounds", "1", "--threads", "1", "--folder",
                           tmp_path / "rivals", "--json", tmp_path / "out.json", "--build", os.path.dirname(os.path.dirname(CLI))],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "not measured: llama: llama.cpp is not built" in done.stdout
    d = json.loads((tmp_path / "out.json").read_text())
    assert d["comparisons"] == [] and d["missing"][0]["rival"] == "llama" and d["shape"] == "tiny"
    assert {p["kind"] for p in d["probes"]} >= {"read"}
    wrong = subprocess.run([sys.executable, SCRIPT, "--only", "llama,onnx"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "'onnx' is none of" in wrong.stderr
