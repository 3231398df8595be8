"""The CoreML backend against what Apple and ExecuTorch publish for this machine: the official parser of payloads, the
native checks and blob reader of coremltools, its types and shapes of every operator, and its definitions of what they
compute. No Apple hardware, no compiler of ML Programs and no Neural Engine is here: what these would do is NOT checked."""
import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oracles import not_here, oracle

ct = oracle("coremltools", "the CoreML backend is")
oracle("executorch.backends.apple.coreml.executorchcoreml", "CoreML payloads are")
from safetensors.numpy import load_file  # noqa: E402

from coreml_part import CoremlFile, CoremlPart, make  # noqa: E402
from diffulex_edge import export_checkpoint  # noqa: E402
from mil_program import MilProgram  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "data"
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
BLOCK = {"sdar-tiny": 4, "fast_dllm_v2-tiny": 32}  # block-causal width of a model; the others see everything
OPERATORS = ("rms_norm", "rms_norm_heads", "rope", "rope_heads_first", "attention", "attention_plain", "attention_f16",
             "attention_unmasked", "attention_state", "silu_mul", "linear", "simple")
FORMS = ("fp16", "int8-dynamic", "int8-weight-only", "int4", "int4-g32")
HALF = 2.0**-11  # relative error of rounding to float16


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("coreml"), {}

    def of(*args):
        if args not in made:
            made[args] = CoremlPart(folder / "-".join(args), *args)
        return made[args]

    return of


def relative(x, wanted):
    x, wanted = np.asarray(x, np.float64), np.asarray(wanted, np.float64)
    return np.linalg.norm(x - wanted) / np.linalg.norm(wanted)


def noise(*shape, scale=1.0, seed=0):
    return (np.random.default_rng((seed, *shape)).standard_normal(shape) * scale).astype(np.float32)


# ---- files ----


@pytest.mark.parametrize("name", OPERATORS)
def test_the_official_parser_and_coremltools_read_the_files(part, name):
    p = part("iOS18", "op", name)
    package, written = p.package, p.folder / "model.mlpackage"
    files = [f.relative_to(written) for f in written.rglob("*") if f.is_file()]
    assert len(files) == 3
    assert filecmp.cmpfiles(written, package, map(str, files), shallow=False) == (list(map(str, files)), [], [])
    assert sorted(f.name for f in p.files.iterdir()) == ["metadata.json", "model.mlpackage"]
    assert ct.libmodelpackage.ModelPackage.isValid(str(package))
    p.program.check_declared_types()
    assert p.program.spec.specificationVersion == 9
    # The wire format is the canonical one: the reference implementation writes the same bytes.
    model = (package / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    assert p.program.spec.ByteSize() == len(model)
    assert [f.name for f in p.program.spec.description.input] == p.metadata["inputNames"]
    assert [f.name for f in p.program.spec.description.output] == p.metadata["outputNames"]


def test_the_delegate_says_what_the_runtime_asks_for(part):
    p = part("iOS17", "op", "linear", "int8-dynamic")
    assert p.about["id"] == "CoreMLBackend"
    assert p.about["specs"] == {"compute_units": "cpu_and_ne", "min_deployment_target": "8",
                                "model_compute_precision": "float16", "model_type": "model"}
    assert p.metadata["identifier"].startswith("executorch_0123456789abcdef_")


def test_parts_of_a_file_have_identifiers_of_their_own(part):
    found = {part("iOS18", "op", name).metadata["identifier"] for name in OPERATORS}
    assert len(found) == len(OPERATORS)


@pytest.mark.parametrize("target, version", [("iOS16", 7), ("iOS17", 8), ("iOS18", 9)])
@pytest.mark.parametrize("form", ["fp16", "int8-dynamic"])
def test_targets(part, target, version, form):
    p = part(target, "op", "linear", form)
    assert p.program.spec.specificationVersion == version
    p.program.check_declared_types()
    used = set(p.program.operators())
    quantised = "constexpr_blockwise_shift_scale" if version == 9 else "constexpr_affine_dequantize"
    assert (quantised in used) == (form != "fp16")


@pytest.mark.parametrize("target", ["iOS16", "iOS17"])
def test_older_targets_have_no_int4(tmp_path, target):
    sentence = f"CoreML has int4 weights, as 'w' is to be, from iOS18 on; the target is {target}"
    with pytest.raises(AssertionError, match=sentence):
        CoremlPart(tmp_path / "part", target, "op", "linear", "int4-g32")


# ---- operators ----


def hostile_rows(rows, width):
    """Noise, zeros, tiny, small, large numbers, and one that is alone."""
    x = noise(rows, width)
    x[1] = 0
    x[2] = 1e-3 * x[2]
    x[3] = 2e-5 * x[3]
    x[4] = 3e3 * x[4]
    x[5] = 0
    x[5, 7] = 6e4
    return x


def test_rms_norm(part):
    p = part("iOS18", "op", "rms_norm")
    x = hostile_rows(6, 24)
    (y,) = p(x)
    assert not y[1].any() and np.isfinite(y).all()
    exact = x.astype(np.float16).astype(np.float64)  # what comes in is rounded; eps is too
    eps = float(np.float16(1e-6))
    wanted = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + eps) * p.tables["w"]
    for row in range(6):
        assert np.abs(y[row] - wanted[row]).max() <= 4 * HALF * np.abs(wanted[row]).max() + 1e-7, row
    assert abs(eps / 1e-6 - 1) < 0.014


def test_rms_norm_of_heads(part):
    p = part("iOS18", "op", "rms_norm_heads")
    x = noise(4, 3, 8)
    x[2, 1] = 0
    (y,) = p(x)
    exact = x.astype(np.float64)
    wanted = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5) * p.tables["w"]
    assert not y[2, 1].any() and relative(y, wanted) < 2 * HALF


def turned(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + np.concatenate([x[..., half:], x[..., :half]], -1) * sin


def test_rope(part):
    p = part("iOS18", "op", "rope")
    x, cos, sin = noise(5, 3, 8), noise(5, 8, seed=1), noise(5, 8, seed=2)
    y, negative = p(x, cos, sin)
    wanted = turned(x.astype(np.float64), cos[:, None], sin[:, None])
    assert relative(y, wanted) < 2 * HALF and relative(negative, -wanted) < 2 * HALF
    (y,) = part("iOS18", "op", "rope_heads_first")(x.swapaxes(0, 1).copy(), cos, sin)
    assert relative(y, wanted.swapaxes(0, 1)) < 2 * HALF


def attended(q, k, v, mask):
    """Rows [T,H,D] over all rows of k and v [S,K,D]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
    scores = np.einsum("thd,shd->hts", q, k) * 0.35 + mask
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hts,shd->thd", e / e.sum(-1, keepdims=True), v).reshape(len(q), -1)


def attention_case(heads, cache_type=np.float32):
    q, k, v = noise(5, heads, 8), noise(5, 2, 8, seed=1), noise(5, 2, 8, seed=2)
    kc, vc = noise(7, 2, 8, seed=3).astype(cache_type), noise(7, 2, 8, seed=4).astype(cache_type)
    mask = np.where(np.random.default_rng(5).random((5, 12)) < 0.4, -10000.0, 0.0).astype(np.float32)
    mask[:, 7:][np.eye(5, dtype=bool)] = 0
    mask[3] = -10000.0
    mask[3, 10] = 0  # a row that sees itself alone
    return q, k, v, kc, vc, mask


def test_attention(part):
    q, k, v, kc, vc, mask = attention_case(6)
    (y,) = part("iOS18", "op", "attention")(q, k, v, kc, vc, mask)
    wanted = attended(q, np.concatenate([kc, k]), np.concatenate([vc, v]), mask)
    assert relative(y, wanted) < 3 * HALF
    # What is not seen does not count, whatever it holds that float16 can.
    kc, vc, hidden = kc.copy(), vc.copy(), mask.copy()
    hidden[:, :7] = -10000.0
    (first,) = part("iOS18", "op", "attention")(q, k, v, kc, vc, hidden)
    kc[:], vc[:] = 10.0, 60000.0
    (second,) = part("iOS18", "op", "attention")(q, k, v, kc, vc, hidden)
    assert (first == second).all()


def test_attention_without_cache_and_mask(part):
    q, k, v, kc, vc, _ = attention_case(2)
    (y,) = part("iOS18", "op", "attention_plain")(q, k, v)
    assert relative(y, attended(q, k, v, 0)) < 3 * HALF
    q, k, v, kc, vc, _ = attention_case(4)
    (y,) = part("iOS18", "op", "attention_unmasked")(q, k, v, kc, vc)
    assert relative(y, attended(q, np.concatenate([kc, k]), np.concatenate([vc, v]), 0)) < 3 * HALF


def test_attention_over_a_float16_cache(part):
    q, k, v, kc, vc, mask = attention_case(4, np.float16)
    y, rows = part("iOS18", "op", "attention_f16")(q, k, v, kc, vc, mask)
    assert relative(y, attended(q, np.concatenate([kc, k]), np.concatenate([vc, v]), mask)) < 3 * HALF
    assert rows.dtype == np.float16 and (rows == k.astype(np.float16)).all()


def test_attention_over_caches_that_the_program_keeps(part):
    """Rows are read before they are written, and stay from call to call."""
    p = part("iOS18", "op", "attention_state")
    p.program.check_declared_types()
    assert p.metadata["inputNames"] == ["q", "k", "v", "mask", "positions"] and len(p.metadata["outputNames"]) == 1
    assert [f.name for f in p.program.spec.description.state] == ["k_0", "v_0"]
    assert {name: x.dtype for name, x in p.program.states.items()} == {"k_0": np.float16, "v_0": np.float16}
    ks, vs = np.zeros((16, 2, 8)), np.zeros((16, 2, 8))
    for call, first in enumerate((0, 3, 2, 13)):
        q, k, v = (noise(3, 2, 8, seed=10 * call + i) for i in range(3))
        mask = np.zeros((3, 19), np.float32)
        mask[:, first:16] = -10000.0
        (y,) = p(q, k, v, mask, np.arange(first, first + 3, dtype=np.int32))
        assert relative(y, attended(q, np.concatenate([ks, k]), np.concatenate([vs, v]), mask)) < 3 * HALF
        ks[first : first + 3], vs[first : first + 3] = k, v
        assert (p.program.states["k_0"] == ks.astype(np.float16)).all()
        assert (p.program.states["v_0"] == vs.astype(np.float16)).all()


def test_older_targets_keep_no_states(tmp_path):
    sentence = "CoreML keeps what a program remembers, as 'k_0', from iOS18 on; the target is iOS17"
    with pytest.raises(AssertionError, match=sentence):
        CoremlPart(tmp_path / "part", "iOS17", "op", "attention_state")


def test_scores_of_large_queries_stay_finite(part):
    q, k, v, kc, vc, mask = attention_case(6)
    (y,) = part("iOS18", "op", "attention")(q * 300, k * 30, v, kc * 30, vc, mask)
    assert np.isfinite(y).all()


def test_silu_mul(part):
    a, b = noise(4, 16, scale=3), noise(4, 16, seed=1)
    a[0] = np.linspace(-60000, 60000, 16)
    a[1] = 0
    (y,) = part("iOS18", "op", "silu_mul")(a, b)
    exact = a.astype(np.float64)
    wanted = exact / (1 + np.exp(np.clip(-exact, -700, 700))) * b
    finite = np.abs(wanted) < 65000
    assert np.abs(y - wanted)[finite].max() <= 4 * HALF * np.abs(wanted[finite]).max()
    assert not y[1].any() and not np.isnan(y).any()


def numbers_of(weights, form):
    """What the form stores of weights [n,k], by its definition: scales are float16, and codes those of these scales."""
    if form == "fp16":
        return weights.astype(np.float16).astype(np.float64)
    most = 7 if form.startswith("int4") else 127
    group = int(form.split("-g")[1]) if "-g" in form else weights.shape[1]
    x = weights.reshape(len(weights), -1, group)
    scale = (np.abs(x).max(-1, keepdims=True) / np.float32(most)).astype(np.float32)
    if "-g" in form:  # as the format of files has it: bfloat16, to even
        bits = scale.view(np.uint32)
        scale = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    scale = scale.astype(np.float16).astype(np.float32)
    return (np.clip(np.rint(x / scale), -most - 1, most) * scale.astype(np.float64)).reshape(weights.shape)


@pytest.mark.parametrize("form, target", [(f, "iOS18") for f in FORMS] + [("int8-dynamic", "iOS16"), ("int8-dynamic", "iOS17")])
def test_linear(part, form, target):
    p = part(target, "op", "linear", form)
    x = noise(3, 64)
    y, shared = p(x)
    w, exact = numbers_of(p.tables["w"], form), x.astype(np.float16).astype(np.float64)
    assert relative(y, exact @ w.T + p.tables["b"]) < 2 * HALF
    assert relative(shared, -exact @ w.T) < 2 * HALF
    # Each piece of the outputs is there once, for both layers.
    pieces = {"fp16": "const"}.get(form, "constexpr_affine_dequantize" if target != "iOS18" else
                                   "constexpr_blockwise_shift_scale")
    if form != "fp16":
        assert p.program.operators().count(pieces) == 2
    assert p.program.operators().count("linear") == 4


def test_simple_operators(part):
    p = part("iOS18", "op", "simple")
    x = noise(2, 3, 4)
    w = p.tables["w"].astype(np.float16).astype(np.float64)
    e = x.astype(np.float16).astype(np.float64)
    soft = np.exp(e) / np.exp(e).sum(-1, keepdims=True)
    from math import erf

    both = np.concatenate([e, e], 1)
    wanted = [e + w, e - w, e * w, e / w, np.minimum(e, w), np.maximum(e, w), np.abs(e), e * e, np.exp(e), np.tanh(e),
              1 / (1 + np.exp(-e)), np.floor(e), np.ceil(e), -e, e, soft, np.vectorize(erf)(e), e.mean(0, keepdims=True),
              e.sum(1), e.max(2, keepdims=True), e.min(0), e.transpose(2, 0, 1), e[:, 1:2, 2:], e.reshape(-1, 2), both,
              e @ both.swapaxes(1, 2)]
    found = p(x)
    assert len(found) == len(wanted)
    for i, (y, reference) in enumerate(zip(found, wanted)):
        assert y.shape == reference.shape, i
        assert relative(y, reference) < 4 * HALF, i


# ---- models ----


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("models"), {}

    def of(model, rows, context, form="fp16", cache="f32", target="iOS18", layers=0):
        key = "-".join(map(str, (model, rows, context, form, cache, target, layers)))
        if key not in made:
            make(folder / key, target, "model", DATA / "checkpoints" / model, form, rows, context, cache, layers)
            made[key] = CoremlFile(folder / key / "model.pte", folder / key / "delegates")
        return Fixed(made[key])

    return of


class Fixed:
    """Calls of a fixed program: rows that are not there are masked, caches are kept here."""

    def __init__(self, file):
        self.file = file
        (self.rows, slots), _ = file.input("mask")
        self.context = slots - self.rows
        self.names = [name for name in file.input_names() if name[:2] in ("k_", "v_")]
        # What was never written must not count, whatever it is.
        self.caches = {name: np.full(*file.input(name)[:1], 7.0).astype(file.input(name)[1]) for name in self.names}

    def forward(self, tokens, positions, cached, sees=None):
        """Logits of tokens, which see the cached positions and those tokens that `sees` [T,T] says, or all; and new rows."""
        n, mask = len(tokens), np.full((self.rows, self.context + self.rows), -10000.0, np.float32)
        mask[:n, list(cached)] = 0
        mask[:n, self.context : self.context + n] = 0 if sees is None else np.where(sees, 0, -10000.0)
        mask[np.arange(self.rows), self.context + np.arange(self.rows)] = 0
        given = {"tokens": np.zeros(self.rows, np.int64), "positions": np.zeros(self.rows, np.int64), "mask": mask, **self.caches}
        given["tokens"][:n], given["positions"][:n] = tokens, positions
        logits, *rows = self.file(*[given[name] for name in self.file.input_names()])
        return logits[:n], {name: x[:n] for name, x in zip(self.names, rows, strict=True)}

    def commit(self, rows, positions):
        for name, x in rows.items():
            self.caches[name][list(positions)] = x


def sees(attention, n):
    if attention == "full":
        return np.ones((n, n), bool)
    block = np.arange(n) // int(attention.split("(")[1].rstrip(")"))
    return block[None] <= block[:, None]


def golden(model):
    return json.loads((DATA / "forward" / f"{model}.json").read_text()), load_file(DATA / "forward" / f"{model}.safetensors")


def agrees(logits, wanted):
    assert relative(logits, wanted) < 6e-3
    assert (logits.argmax(-1) == wanted.argmax(-1)).all()


@pytest.mark.parametrize("model", MODELS)
def test_models_give_the_golden_logits(fixed, model):
    program = fixed(model, 50, 56)
    (delegate,) = program.file.delegates
    delegate.program.check_declared_types()
    cases, tensors = golden(model)
    for case in cases["cases"]:
        n = len(case["input_ids"])
        logits, _ = program.forward(case["input_ids"], range(n), (), sees(case["attention"], n))
        agrees(logits, tensors[case["name"]])


@pytest.mark.parametrize("cache", ["f32", "f16"])
@pytest.mark.parametrize("model", MODELS)
def test_models_prefill_denoise_and_commit(fixed, model, cache):
    program = fixed(model, 32, 80, cache=cache)
    cases, tensors = golden(model)
    cached = cases["cached"]
    prefix, chunk, part_ids, start = cached["prefix_ids"], cached["chunk_ids"], cached["part_ids"], cached["part_start"]
    n, m = len(prefix), len(chunk)
    block = BLOCK.get(model)
    _, rows = program.forward(prefix, range(n), (), sees(f"({block})" if block else "full", n))
    assert all(x.dtype == {"f32": np.float32, "f16": np.float16}[cache] for x in rows.values())
    k = np.stack([rows[name] for name in program.names[::2]]).transpose(0, 2, 1, 3)
    v = np.stack([rows[name] for name in program.names[1::2]]).transpose(0, 2, 1, 3)
    assert relative(k, tensors["cached.prefix.k"]) < 2e-3 and relative(v, tensors["cached.prefix.v"]) < 2e-3
    program.commit(rows, range(n))
    positions = np.arange(n, n + m)
    block_of = positions // block if block else np.zeros(m)
    logits, rows = program.forward(chunk, positions, range(n), block_of[None] <= block_of[:, None])
    agrees(logits, tensors["cached.chunk"])
    program.commit(rows, positions)
    others = [i for i in range(n + m) if not start <= i < start + len(part_ids)]
    logits, _ = program.forward(part_ids, range(start, start + len(part_ids)), others)
    agrees(logits, tensors["cached.part"])


def test_a_package_alone_may_keep_its_cache(tmp_path):
    """What an application that uses Core ML without ExecuTorch gets of --coreml-state."""
    export_checkpoint(DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.mlpackage", backend="coreml", emit="mlpackage",
                      quantization="fp16", kv="fixed-state", max_seq_len=32, max_rows=4)
    assert ct.libmodelpackage.ModelPackage.isValid(str(tmp_path / "m.mlpackage"))
    program = MilProgram(tmp_path / "m.mlpackage")
    program.check_declared_types()
    features = program.spec.description
    assert sorted(f.name for f in features.input) == ["cos", "embedded", "mask", "positions", "sin", "stored"]
    assert [f.name for f in features.output] == ["logits"]
    assert {f.name for f in features.state} == {"k_0", "v_0", "k_1", "v_1"} == set(program.states)
    assert {tuple(x.shape) for x in program.states.values()} == {(32, 2, 32)}


class Inside(Fixed):
    """Calls of a program that keeps the cache: rows stand in slots behind each other, and some of them are stored."""

    def __init__(self, file):
        super().__init__(file)
        assert self.names == [] and file.input_names() == ["tokens", "positions", "mask", "stored"]
        for kept in file.states().values():
            assert kept.shape[0] == self.context and not kept.any()
            kept[:] = 7.0    # what was never written must not count, whatever it is

    def forward(self, tokens, positions, cached, sees=None, store=0):
        """Logits of tokens; the first `store` rows go into the cache."""
        n, first = len(tokens), positions[0]
        lead = max(0, first + self.rows - self.context)
        real, before = slice(lead, lead + n), {name: x.copy() for name, x in self.file.states().items()}
        mask = np.full((self.rows, self.context + self.rows), -10000.0, np.float32)
        mask[real, list(cached)] = 0
        mask[real, self.context + lead : self.context + lead + n] = 0 if sees is None else np.where(sees, 0, -10000.0)
        mask[np.arange(self.rows), self.context + np.arange(self.rows)] = 0
        given, stored = np.full(self.rows, 5, np.int64), np.zeros(self.rows, np.float32)
        given[real], stored[lead : lead + store] = tokens, 1
        (logits,) = self.file(given, np.arange(first - lead, first - lead + self.rows), mask, stored)
        for name, x in self.file.states().items():
            changed = (x != before[name]).any(axis=(1, 2))
            assert changed[list(positions)[:store]].all() and changed.sum() == store, name
        return logits[real]


def kept(program, which, positions):
    """Keys or values of all layers as the golden files have them."""
    states = program.file.states()
    layers = [name for name in states if name.startswith(which)]
    return np.stack([states[name][list(positions)] for name in layers]).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("model, layers", [(model, 0) for model in MODELS] + [("sdar-tiny", 1)])
def test_models_that_keep_the_cache_prefill_denoise_and_commit(fixed, model, layers):
    """In one delegate, and in one for each layer; and what a call does not store stays as it is."""
    cases, tensors = golden(model)
    cached = cases["cached"]
    prefix, chunk, part_ids, start = cached["prefix_ids"], cached["chunk_ids"], cached["part_ids"], cached["part_start"]
    n, m = len(prefix), len(chunk)
    context = max(40, n + m + 1)    # so that the chunk has rows that fill up in front
    program = Inside(fixed(model, 32, context, cache="state", layers=layers).file)
    assert all(d.program.spec.specificationVersion == 9 for d in program.file.delegates)
    for delegate in program.file.delegates:
        delegate.program.check_declared_types()
    assert len(program.file.states()) == 2 * len(tensors["cached.prefix.k"])
    block = BLOCK.get(model)
    program.forward(prefix, range(n), (), sees(f"({block})" if block else "full", n), store=n)
    assert relative(kept(program, "k", range(n)), tensors["cached.prefix.k"]) < 2e-3
    assert relative(kept(program, "v", range(n)), tensors["cached.prefix.v"]) < 2e-3
    positions = np.arange(n, n + m)
    block_of = positions // block if block else np.zeros(m)
    sight = block_of[None] <= block_of[:, None]
    agrees(program.forward(chunk, positions, range(n), sight), tensors["cached.chunk"])
    agrees(program.forward(chunk, positions, range(n), sight, store=m), tensors["cached.chunk"])
    others = [i for i in range(n + m) if not start <= i < start + len(part_ids)]
    for store in (0, 2):
        logits = program.forward(part_ids, range(start, start + len(part_ids)), others, store=store)
        agrees(logits, tensors["cached.part"])


@pytest.mark.parametrize("layers", [1, 2])
def test_several_delegates_are_the_same_program(fixed, layers):
    """What passes between them is float32, and float16 numbers are: nothing is lost."""
    ids = golden("llada-tiny")[0]["cases"][0]["input_ids"]
    one, more = fixed("llada-tiny", 40, 48), fixed("llada-tiny", 40, 48, layers=layers)
    assert len(more.file.delegates) == {1: 3, 2: 2}[layers]
    assert len({d.metadata["identifier"] for d in more.file.delegates}) == len(more.file.delegates)
    logits, rows = more.forward(ids, range(len(ids)), ())
    wanted, wanted_rows = one.forward(ids, range(len(ids)), ())
    assert (logits == wanted).all() and all((rows[name] == wanted_rows[name]).all() for name in rows)


def weights_file(program):
    (delegate,) = program.file.delegates
    return (delegate.package / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()


@pytest.mark.parametrize("form, most", [("int8-dynamic", 0.02), ("int4", 0.4), ("int4-g32", 0.3)])
def test_quantised_models(fixed, form, most):
    cases, tensors = golden("sdar-tiny")
    case = cases["cases"][0]
    n = len(case["input_ids"])
    program = fixed("sdar-tiny", 32, 40, form)
    logits, _ = program.forward(case["input_ids"], range(n), (), sees(case["attention"], n))
    assert 1e-3 < relative(logits, tensors[case["name"]]) < most


def test_rows_stay_float16_where_a_form_would_quantise_them(fixed):
    """Nothing but the weights counts: the two forms are one program."""
    one, two = fixed("sdar-tiny", 32, 40, "int8-dynamic"), fixed("sdar-tiny", 32, 40, "int8-weight-only")
    assert weights_file(one) == weights_file(two)
    assert one.file.delegates[0].program.operators() == two.file.delegates[0].program.operators()


def test_another_version_of_the_official_parser(tmp_path):
    """It takes a payload apart as the installed one does."""
    other = os.environ.get("DLX_OTHER_EXECUTORCH")
    if not other:
        not_here("DLX_OTHER_EXECUTORCH names no folder: another version of the official parser is NOT checked")
    path, payload, parsed = tmp_path / "m.pte", tmp_path / "payload.bin", tmp_path / "parsed"
    export_checkpoint(DATA / "checkpoints" / "sdar-tiny", path, backend="coreml", quantization="fp16", max_seq_len=32)
    file = CoremlFile(path, tmp_path / "files")
    payload.write_bytes(bytes(file.program.backend_delegate_data[file.plan.delegates[0].processed.index].data))
    parsed.mkdir()
    script = ("import executorch.backends.apple.coreml.executorchcoreml as parser, sys; print(parser.__file__); "
              "sys.exit(not parser.unflatten_directory_contents(open(sys.argv[1], 'rb').read(), sys.argv[2]))")
    done = subprocess.run([sys.executable, "-c", script, payload, parsed], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": other})
    assert done.returncode == 0 and done.stdout.startswith(str(Path(other).resolve())), done.stdout + done.stderr
    (folder,), installed = parsed.iterdir(), file.delegates[0].files
    wanted = sorted(p.relative_to(installed) for p in installed.rglob("*") if p.is_file())
    assert len(wanted) >= 4 and wanted == sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert all((installed / p).read_bytes() == (folder / p).read_bytes() for p in wanted)
