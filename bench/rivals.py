"""The other programs that run.py measures: where they come from, and the same weights in their formats. For the scripts
beside it."""
import contextlib
import importlib.util
import json
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

from turns import finished

ROOT = Path(__file__).resolve().parent.parent


class Missing(Exception):
    """A rival is not there, and why."""


def command(log, *words, **more):
    """Runs a command whose output goes to a file; Missing when it fails."""
    with open(log, "a", encoding="utf-8") as out:
        print("$", *words, file=out, flush=True)
        if finished(words, stdout=out, stderr=subprocess.STDOUT, **more).returncode:
            raise Missing(f"'{words[0]} {words[1]} ...' failed; its output is in {log}")


@contextlib.contextmanager
def unfinished(folder):
    """A folder for what is being made, which is moved to its place when it is whole. What a killed run left there goes."""
    path = folder / "unfinished"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def made(path, make):
    """`path`, which make(name) makes under another name where it is not there."""
    if not path.exists():
        with unfinished(path.parent) as folder:
            make(folder / path.name)
            (folder / path.name).rename(path)
    return path


# ---- PyTorch and ExecuTorch ------------------------------------------------------------------------------------------

def python_with(folder, modules, install):
    """An interpreter that has these modules: this one, that of the tests, or one of a virtual environment made for it."""
    if all(importlib.util.find_spec(module) for module in modules):
        return sys.executable
    for python in (ROOT / "build/venv/bin/python", folder / "venv/bin/python"):
        if python.exists() and finished([python, "-c", f"import {', '.join(modules)}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode == 0:
            return str(python)
    if not install:
        raise Missing(f"{' and '.join(modules)} {'is' if len(modules) == 1 else 'are'} not installed")
    log = folder / "venv.log"
    command(log, sys.executable, "-m", "venv", folder / "venv")
    command(log, folder / "venv/bin/python", "-m", "pip", "install", "-r", ROOT / "tests/requirements.txt")
    return str(folder / "venv/bin/python")


# ---- llama.cpp -------------------------------------------------------------------------------------------------------

# What a CPU of that kernel set has for llama.cpp, whose build chooses by itself otherwise.
LLAMA_SETS = {"avx2": [], "avx-vnni": ["AVX_VNNI"], "avx512": ["AVX512"], "avx512vnni": ["AVX512", "AVX512_VNNI"]}


def starts(program):
    """Whether a program is there, whole."""
    try:
        return finished([program, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def llama_source(folder, log):
    """The source's folder, downloaded and unpacked where it is not there."""
    for there in sorted(folder.glob("llama_cpp_python-*/vendor/llama.cpp"), reverse=True):
        return there
    if not list(folder.glob("llama_cpp_python-*.tar.gz")):
        with unfinished(folder) as new:
            command(log, sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", new, "llama-cpp-python")
            for path in new.glob("llama_cpp_python-*.tar.gz"):
                path.rename(folder / path.name)
    archive = sorted(folder.glob("llama_cpp_python-*.tar.gz"))[-1]
    name = archive.name[:-len(".tar.gz")]

    def unpack(path):
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(path.parent, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise Missing(f"{archive} is damaged ({error}); remove it, and the next run downloads it again")
    return made(folder / name, unpack) / "vendor/llama.cpp"


def llama(folder, install, jobs, cpu=""):
    """The folder of llama-bench and llama-diffusion-cli, built from the source that the distribution of the Python package
    llama-cpp-python carries; for this CPU, or for one whose best kernel set of ours is `cpu`."""
    build = folder / (f"llama-{cpu}" if cpu else "llama")
    sets = [f"-DGGML_{name}=ON" for name in ["SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2", *LLAMA_SETS[cpu]]] if cpu else []
    programs = [build / "bin" / name for name in ("llama-bench", "llama-diffusion-cli")]
    if all(map(starts, programs)):
        return build / "bin"
    if not install:
        raise Missing(f"llama.cpp is not built in {build}")
    log = folder / "llama.log"
    source = llama_source(folder, log)
    for program in programs:    # a linker that was killed leaves half of one, which is newer than its objects
        program.unlink(missing_ok=True)
    launchers = [f"-DCMAKE_{word}_COMPILER_LAUNCHER=ccache" for word in ("C", "CXX")] if shutil.which("ccache") else []
    command(log, "cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release",
            f"-DGGML_NATIVE={'OFF' if cpu else 'ON'}", *sets, "-DLLAMA_CURL=OFF",
            "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DBUILD_SHARED_LIBS=OFF", *launchers)
    command(log, "cmake", "--build", build, "--parallel", jobs, "--target", *(program.name for program in programs))
    return build / "bin"


def run_llama(program, *words, errors=subprocess.PIPE):
    """What it prints; with errors=STDOUT in the order in which it said it."""
    done = finished([program, *words], stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
    if done.returncode:
        raise Missing(f"{program.name} ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def left_to_right(bin_folder, model, threads, context, tokens=16):
    """Milliseconds of a token behind so many cached ones, decoding from left to right (llama-bench)."""
    said = run_llama(bin_folder / "llama-bench", "-m", model, "-t", threads, "-p", 0, "-n", tokens, "-d", context, "-r", 1, "-o", "json")
    results = json.loads(said[said.index("["):said.rindex("]") + 1])
    return 1e3 / results[0]["avg_ts"]


def step_times(said):
    """Milliseconds between the lines that begin steps. (The line with the times of all, behind the last step, is lost more
    often than not: the program ends without waiting for its log.)"""
    begins = [60e3 * int(m) + 1e3 * int(s) + int(ms) + 1e-3 * int(us)
              for m, s, ms, us in re.findall(r"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) I\s+diffusion step: \d+/", said)]
    return [b - a for a, b in zip(begins, begins[1:])]


def diffusion_step(bin_folder, model, threads, rows):
    """Milliseconds of a step over the whole sequence, logits of all rows (llama-diffusion-cli): the middle one of three, with
    what it samples, which is little."""
    said = run_llama(bin_folder / "llama-diffusion-cli", "-m", model, "-t", threads, "-p", "a b c", "-ub", rows, "-b", rows, "-c",
                     max(rows, 512), "--diffusion-block-length", rows, "--diffusion-steps", 4, "--temp", 0, errors=subprocess.STDOUT)
    times = step_times(said)
    if not times:
        raise Missing(f"llama-diffusion-cli says nothing of its steps: {said.strip()[-300:]}")
    return statistics.median(times)


# ---- GGUF ------------------------------------------------------------------------------------------------------------

F32, Q4_0, Q8_0 = 0, 2, 8
FILE_TYPES = {"Q8_0": 7, "Q4_0": 2}
BLOCK, ALIGNMENT = 32, 32

# Of a checkpoint and of GGUF; {} is the layer.
QWEN2 = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
QWEN2_LAYER = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
               "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
               "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
LLADA = {"model.transformer.wte.weight": "token_embd.weight", "model.transformer.ln_f.weight": "output_norm.weight",
         "model.transformer.ff_out.weight": "output.weight"}
LLADA_LAYER = {"attn_norm": "attn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "attn_out": "attn_output",
               "ff_norm": "ffn_norm", "ff_proj": "ffn_gate", "up_proj": "ffn_up", "ff_out": "ffn_down"}


class Checkpoint:
    """Tensors of a folder of safetensors, rows at a time."""

    def __init__(self, folder):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        self.tensors = {}
        for path in sorted(Path(folder).glob("*.safetensors")):
            with open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                for name, t in json.loads(file.read(size)).items():
                    if name != "__metadata__":
                        self.tensors[name] = (path, t["dtype"], t["shape"], 8 + size + t["data_offsets"][0])

    def rows(self, name, first, count):
        """Float32 [count, columns] of a matrix, [columns] of a vector."""
        import numpy
        path, dtype, shape, offset = self.tensors[name]
        columns = shape[-1]
        kind = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[dtype]
        n = (count if len(shape) > 1 else 1) * columns
        raw = numpy.fromfile(path, kind, n, offset=offset + first * columns * numpy.dtype(kind).itemsize)
        x = (raw.astype(numpy.uint32) << 16).view(numpy.float32) if dtype == "BF16" else raw.astype(numpy.float32)
        return x.reshape(-1, columns) if len(shape) > 1 else x


def q8_0(x):
    """Bytes of rows: of each 32 numbers the largest over 127 as a half, and int8."""
    import numpy
    blocks = x.reshape(-1, BLOCK)
    d = (numpy.abs(blocks).max(1) / 127).astype(numpy.float16)
    scale = d.astype(numpy.float32)
    inverse = numpy.divide(1, scale, out=numpy.zeros_like(scale), where=scale > 0)
    q = numpy.rint(blocks * inverse[:, None]).clip(-127, 127).astype(numpy.int8)
    return numpy.concatenate([d[:, None].view(numpy.uint8), q.view(numpy.uint8)], 1).tobytes()


def q4_0(x):
    """The same with 4 bits, value + 8: the first 16 in low halves. What is largest becomes -8."""
    import numpy
    blocks = x.reshape(-1, BLOCK)
    largest = numpy.take_along_axis(blocks, numpy.abs(blocks).argmax(1)[:, None], 1)[:, 0]
    d = (largest / -8).astype(numpy.float16)
    scale = d.astype(numpy.float32)
    inverse = numpy.divide(1, scale, out=numpy.zeros_like(scale), where=scale != 0)
    q = (numpy.rint(blocks * inverse[:, None]) + 8).clip(0, 15).astype(numpy.uint8)
    return numpy.concatenate([d[:, None].view(numpy.uint8), q[:, :16] | q[:, 16:] << 4], 1).tobytes()


def gguf_value(value):
    """Type and bytes of a value of the header."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, gguf_text(value)
    kind = gguf_value(value[0])[0]
    if kind == 4:
        kind, items = 5, [struct.pack("<i", v) for v in value]
    else:
        items = [gguf_value(v)[1] for v in value]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(items)


def gguf_text(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def made_up_tokens(vocabulary):
    """(tokens, types, merges) of a byte-level tokenizer that llama.cpp takes; the last four are special."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    tokens = sorted(chr(c) for c in plain) + [chr(256 + i) for i in range(256 - len(plain))]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens += ["\u0120" + c for c in letters]
    special = ["<|endoftext|>", "<|mask|>", "<|im_start|>", "<|im_end|>"]
    tokens += [f"w{i}x" for i in range(vocabulary - len(tokens) - len(special))]
    return tokens + special, [1] * len(tokens) + [3] * len(special), ["\u0120 " + c for c in letters]


def header(config, architecture, scheme):
    """The key-values of a model's header."""
    llada = architecture == "llada"
    vocabulary = config["embedding_size"] if llada else config["vocab_size"]
    hidden = config["d_model"] if llada else config["hidden_size"]
    heads = config["n_heads"] if llada else config["num_attention_heads"]
    tokens, types, merges = made_up_tokens(vocabulary)
    a = architecture
    values = {
        "general.architecture": a, "general.file_type": FILE_TYPES[scheme], "general.alignment": ALIGNMENT,
        f"{a}.context_length": 4096, f"{a}.embedding_length": hidden,
        f"{a}.block_count": config["n_layers"] if llada else config["num_hidden_layers"],
        f"{a}.feed_forward_length": config["mlp_hidden_size"] if llada else config["intermediate_size"],
        f"{a}.attention.head_count": heads,
        f"{a}.attention.head_count_kv": (config.get("n_kv_heads") or heads) if llada else config["num_key_value_heads"],
        f"{a}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]), f"{a}.rope.freq_base": float(config["rope_theta"]),
        f"{a}.vocab_size": vocabulary,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges, "tokenizer.ggml.eos_token_id": vocabulary - 4,
        "tokenizer.ggml.padding_token_id": vocabulary - 4, "tokenizer.ggml.mask_token_id": vocabulary - 3,
        "tokenizer.ggml.add_bos_token": False,
    }
    if a != "qwen2":
        values[f"{a}.attention.causal"] = False
        values["diffusion.shift_logits"] = a == "dream"
    if llada:
        values[f"{a}.rope.dimension_count"] = hidden // heads
    return values


def names_of(checkpoint, architecture):
    """[(name in the checkpoint, name in GGUF)]"""
    llada = architecture == "llada"
    config = checkpoint.config
    pairs = list((LLADA if llada else QWEN2).items())
    for i in range(config["n_layers"] if llada else config["num_hidden_layers"]):
        for theirs, ours in (LLADA_LAYER if llada else QWEN2_LAYER).items():
            prefix = f"model.transformer.blocks.{i}" if llada else f"model.layers.{i}"
            pairs += [(f"{prefix}.{theirs}.{end}", f"blk.{i}.{ours}.{end}") for end in ("weight", "bias")]
    return [(theirs, ours) for theirs, ours in pairs if theirs in checkpoint.tensors]


def write_gguf(folder, path, architecture, scheme):
    """The checkpoint's weights as Q8_0, or Q4_0 with embedding and head in Q8_0, as our int4 schemes keep them. The rotary
    order of LLaDA's queries and keys is left as it is: no time depends on it."""
    checkpoint = Checkpoint(folder)
    infos, offset, tensors = [], 0, names_of(checkpoint, architecture)
    for theirs, ours in tensors:
        shape = checkpoint.tensors[theirs][2]
        kind = F32 if len(shape) == 1 else Q4_0 if scheme == "Q4_0" and ours.startswith("blk.") else Q8_0
        rows, columns = (shape[0], shape[1]) if len(shape) > 1 else (1, shape[0])
        size = rows * columns * 4 if kind == F32 else rows * columns // BLOCK * {Q8_0: 34, Q4_0: 18}[kind]
        infos.append((theirs, ours, kind, rows, columns, offset, size))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    values = header(checkpoint.config, architecture, scheme)
    with open(path, "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(values)))
        for key, value in values.items():
            kind, data = gguf_value(value)
            out.write(gguf_text(key) + struct.pack("<I", kind) + data)
        for _, ours, kind, rows, columns, at, _ in infos:
            dims = (columns,) if kind == F32 else (columns, rows)
            out.write(gguf_text(ours) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at))
        out.write(b"\0" * (-out.tell() % ALIGNMENT))
        for theirs, _, kind, rows, columns, _, size in infos:
            write_tensor(out, checkpoint, theirs, kind, rows, columns)
            out.write(b"\0" * (-size % ALIGNMENT))


def write_tensor(out, checkpoint, name, kind, rows, columns):
    step = max(1, (1 << 22) // columns)
    for first in range(0, rows, step):
        x = checkpoint.rows(name, first, min(step, rows - first))
        out.write(x.tobytes() if kind == F32 else q8_0(x) if kind == Q8_0 else q4_0(x))
