"""bench/run.py: the same weights in the rival's format, turns and ratios, and what is said of rivals that are missing."""
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from oracles import oracle

from program import CLI, DATA, ROOT, export

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
    theirs.close()
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
