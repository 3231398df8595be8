"""The decoder over forward functions that are not the native session: scripted ones, and the official runtime."""

import sys

import pytest
from exported_files import MODELS, exported  # noqa: F401 - a fixture
from oracles import oracle

import diffulex_edge
from diffulex_edge.decode import ForwardCall, ModelFacts
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig, GenerationConfig, InferenceEngine

FACTS = ModelFacts(
    family="sdar", vocab_size=32, max_context=64, max_rows=64, mask_id=31, attn_block=4, block_length=4, stop_ids=(30,)
)
PROMPT = [5, 6, 7, 8, 9, 10, 11]


class Scripted:
    """Position p becomes token p % 20; the higher in its block, the surer. Remembers its calls."""

    def __init__(self, make=lambda rows: rows):
        self.calls, self.make = [], make

    def __call__(self, call):
        self.calls.append(call)
        rows = [
            [4.0 + (call.start + r) % 4 if t == (call.start + r) % 20 else 0.0 for t in range(32)] for r in call.rows
        ]
        return self.make(rows)


@pytest.mark.parametrize("kind", ("list", "numpy", "numpy64", "torch", "bfloat16"))
def test_logits_of_every_kind(kind):
    module = oracle("torch" if kind in ("torch", "bfloat16") else "numpy", "its arrays are") if kind != "list" else None
    make = {
        "list": lambda r: r,
        "numpy": lambda r: module.array(r, dtype="float32"),
        "numpy64": lambda r: module.array(r),
        "torch": lambda r: module.tensor(r),
        "bfloat16": lambda r: module.tensor(r).bfloat16(),
    }[kind]
    got = diffulex_edge.generate(Scripted(make), PROMPT, facts=FACTS, max_new_tokens=9)
    assert got.answer_ids == [p % 20 for p in range(7, 16)] and got.algorithm == "sdar.generate"


def test_calls_carry_what_the_header_says():
    scripted = Scripted()
    diffulex_edge.generate(scripted, PROMPT, facts=FACTS, max_new_tokens=9, threshold=1.0, fuse_commit=False)
    first = scripted.calls[0]
    assert first == ForwardCall(ids=PROMPT[:4], start=0, context=[], attn_block=4, n_store=4, rows=[])
    second = scripted.calls[1]
    assert second.ids == [9, 10, 11, 31] and second.context == [(0, 4)] and second.n_store == 0 and second.rows == [3]
    stored = set()
    for call in scripted.calls:
        for begin, end in call.context:
            assert set(range(begin, end)) <= stored
        stored |= set(range(call.start, call.start + call.n_store))


def test_wrong_answers_of_a_forward_function():
    numpy = oracle("numpy", "wrong arrays are")
    for answer in ([], [[0.0] * 31], numpy.zeros((1, 31)), numpy.zeros(32), [[float("nan")] * 32]):
        with pytest.raises((ValueError, RuntimeError)):
            diffulex_edge.generate(lambda call, a=answer: a, PROMPT, facts=FACTS, max_new_tokens=4)
    with pytest.raises(ValueError, match="facts"):
        diffulex_edge.generate(Scripted(), PROMPT)

    def fail(call):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        diffulex_edge.complete(fail, PROMPT, facts=FACTS)


def test_completion_without_a_tokenizer():
    completion = diffulex_edge.complete(Scripted(), PROMPT, facts=FACTS, max_new_tokens=6)
    assert completion.text == "" and completion.ids == [7, 8, 9, 10, 11, 12] and completion.finish_reason == "length"
    assert completion.statistics.prompt_tokens == 7
    with pytest.raises(ValueError, match="tokenizer"):
        diffulex_edge.complete(Scripted(), PROMPT, facts=FACTS, stop="x")


def test_engine_over_a_forward_function():
    for algorithm in (None, "blocks"):
        engine = DiffusionEngine.from_model(Scripted(), model_type="sdar", facts=FACTS)
        config = DiffusionGenerationConfig(max_new_tokens=9, temperature=0, algorithm=algorithm)
        assert engine.generate(PROMPT, config) == PROMPT + [p % 20 for p in range(7, 16)]
    engine = InferenceEngine.from_model(Scripted(), facts=FACTS)
    assert engine.generate(PROMPT, GenerationConfig(max_new_tokens=3, temperature=0)) == [7, 8, 9]


def test_the_block_sampler_needs_no_library():
    code = f"""
import sys
sys.path.insert(0, {str(sys.path[0])!r})
from test_py_forward_functions import FACTS, PROMPT, Scripted
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
engine = DiffusionEngine.from_model(Scripted(), model_type="sdar", facts=FACTS)
print(engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=9, temperature=0, algorithm="blocks")))
"""
    import os
    import subprocess
    from pathlib import Path

    here = Path(__file__).resolve().parent
    environment = {
        **os.environ,
        "DLX_LIBRARY": "/nowhere/lib.so",
        "PYTHONPATH": os.pathsep.join([str(here.parent.parent / "python"), str(here)]),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == str(PROMPT + [p % 20 for p in range(7, 16)]), done.stderr


# ---- the official runtime --------------------------------------------------------------------------------------------


def test_a_missing_runtime_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(ImportError, match="ExecuTorch runtime not available.*pip install executorch"):
        DiffusionEngine.from_pte(exported("sdar-tiny"), runtime="executorch")


@pytest.fixture(scope="module")
def official(exported):
    oracle("torch", "the decoder over the official runtime is")
    oracle("executorch.runtime", "the decoder over the official runtime is")
    return {m: DiffusionEngine.from_pte(exported(f"{m}-tiny"), model_type=m, runtime="executorch") for m in MODELS}


@pytest.fixture(scope="module")
def native(exported):
    return {m: DiffusionEngine.from_pte(exported(f"{m}-tiny"), model_type=m) for m in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_the_official_runtime_has_the_files_facts(official, native, model):
    assert official[model].facts == native[model].facts


CONFIGS = (
    {},
    {"algorithm": "blocks", "block_size": 6},
    {"temperature": 1.5, "seed": 3, "top_p": 0.9},
    {"algorithm": "ar.generate"},
    {"confidence_threshold": 0.6, "block_size": 8},
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("keywords", CONFIGS, ids=range(len(CONFIGS)))
def test_both_runtimes_decode_the_same(official, native, model, keywords):
    config = DiffusionGenerationConfig(**{"max_new_tokens": 20, "temperature": 0.0, "stop_ids": [], **keywords})
    for prompt in (PROMPT, list(range(40, 75))):
        assert official[model].generate(prompt, config) == native[model].generate(prompt, config)
        a, b = official[model].last_generation, native[model].last_generation
        assert a.num_forwards == b.num_forwards
        assert [(s.start, s.rows, s.cached) for s in a.steps] == [(s.start, s.rows, s.cached) for s in b.steps]


@pytest.mark.parametrize(
    "options",
    (
        {"cache": "dual", "algorithm": "llada.generate_fast", "block_length": 8},
        {"cache": "prefix", "algorithm": "llada.generate_fast", "block_length": 8},
    ),
)
def test_approximate_caches_in_both_runtimes(official, native, options):
    config = DiffusionGenerationConfig(
        max_new_tokens=24, temperature=0, stop_ids=[], algorithm=options["algorithm"], options=options
    )
    assert official["llada"].generate(PROMPT, config) == native["llada"].generate(PROMPT, config)


def test_autoregression_in_both_runtimes(exported, official):
    for model in MODELS:
        config = GenerationConfig(max_new_tokens=8, temperature=0)
        with InferenceEngine.from_pte(exported(f"{model}-tiny")) as native_engine:
            engine = InferenceEngine.from_pte(exported(f"{model}-tiny"), runtime="executorch")
            assert engine.generate(PROMPT, config) == native_engine.generate(PROMPT, config)
            theirs, ours = engine._prefill(PROMPT)[0], native_engine._prefill(PROMPT)[0]
            assert abs(theirs.numpy() - ours).max() < 1e-4


def test_the_official_runtime_refuses_what_the_session_does(official):
    forward = official["sdar"]._pte_module
    call = ForwardCall(ids=[1], start=0, context=[], attn_block=4, n_store=0, rows=[0])
    assert forward(call).shape == (1, 1280)
    for wrong in ({"ids": [5000]}, {"start": 128}, {"start": -1}, {"ids": []}, {"start": 4, "context": [(100, 128)]}):
        with pytest.raises(ValueError):
            forward(call._replace(**wrong))
    with pytest.raises(FileNotFoundError):
        DiffusionEngine.from_pte("none.pte", runtime="executorch")
    with pytest.raises(RuntimeError):
        DiffusionEngine.from_pte(__file__, runtime="executorch")
