"""The original system's names: signatures, engines over files, one token after the other (docs/DIFFERENCES.md)."""

import inspect
import random

import pytest
from exported_files import MODELS, exported  # noqa: F401 - a fixture
from oracles import oracle

from diffulex_edge.runtime import (
    DiffusionEngine,
    DiffusionGenerationConfig,
    DiffusionSampler,
    GenerationConfig,
    InferenceEngine,
)

PROMPT = [5, 6, 7, 8, 9, 10, 11]


def parameters(function):
    return [
        (p.name, p.default)
        for p in inspect.signature(function).parameters.values()
        if p.name not in ("self", "cls") and p.kind is p.POSITIONAL_OR_KEYWORD
    ]


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_signatures():
    nothing = inspect.Parameter.empty
    assert parameters(DiffusionEngine) == [
        ("model", None),
        ("pte_path", None),
        ("device", "cpu"),
        ("model_type", "fast_dllm_v2"),
        ("max_seq_len", None),
        ("use_kv_cache", True),
    ]
    assert parameters(DiffusionEngine.from_model) == [
        ("model", nothing),
        ("device", "cpu"),
        ("model_type", "fast_dllm_v2"),
        ("use_kv_cache", True),
    ]
    assert parameters(DiffusionEngine.from_pte) == [
        ("pte_path", nothing),
        ("device", "cpu"),
        ("model_type", "fast_dllm_v2"),
        ("max_seq_len", None),
        ("runtime", "native"),
    ]
    assert parameters(DiffusionGenerationConfig) == [
        ("max_new_tokens", 100),
        ("num_iterations", 10),
        ("block_size", 4),
        ("confidence_threshold", 0.95),
        ("temperature", 1.0),
        ("top_k", 0),
        ("top_p", 1.0),
        ("mask_token_id", None),
        ("eos_token_id", 2),
        ("model_type", "fast_dllm_v2"),
        ("margin_confidence", False),
        ("neg_entropy", False),
    ]
    assert parameters(GenerationConfig)[:9] == [
        ("max_new_tokens", 100),
        ("temperature", 1.0),
        ("top_k", 50),
        ("top_p", 0.9),
        ("repetition_penalty", 1.0),
        ("stop_sequences", None),
        ("pad_token_id", 0),
        ("eos_token_id", 2),
        ("stream", False),
    ]
    assert parameters(InferenceEngine.from_pte) == [
        ("pte_path", nothing), ("device", "cpu"), ("model_type", "fast_dllm_v2"), ("max_seq_len", None)]
    assert parameters(InferenceEngine.benchmark) == [
        ("prompt_length", 128),
        ("generate_length", 100),
        ("warmup", 3),
        ("runs", 10),
    ]
    assert parameters(DiffusionSampler) == [
        ("mask_token_id", 151665),
        ("confidence_threshold", 0.9),
        ("temperature", 1.0),
        ("top_k", 0),
        ("top_p", 1.0),
        ("margin_confidence", False),
        ("neg_entropy", False),
    ]


def test_mask_ids_of_the_published_checkpoints():
    ids = {m: DiffusionGenerationConfig(model_type=m).mask_token_id for m in MODELS}
    assert ids == {"fast_dllm_v2": 151665, "dream": 151666, "llada": 126336, "sdar": 151669}
    assert DiffusionGenerationConfig(mask_token_id=7).mask_token_id == 7


# ---- engine over files -----------------------------------------------------------------------------------------------


def test_the_example_of_the_readme(exported):
    engine = DiffusionEngine.from_pte(str(exported("fast_dllm_v2-tiny")), model_type="fast_dllm_v2")
    tokens = engine.generate(
        [1, 2, 3], DiffusionGenerationConfig(max_new_tokens=50, num_iterations=10, temperature=0.8)
    )
    assert tokens[:3] == [1, 2, 3] and 3 <= len(tokens) <= 53 and all(type(i) is int for i in tokens)
    assert engine.facts.mask_id not in tokens and not set(engine.facts.stop_ids) & set(tokens[3:])
    assert engine.last_generation.algorithm == "fast_dllm_v2.generate"
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.generate([1])


@pytest.fixture(scope="module")
def engines(exported):
    made = {m: DiffusionEngine.from_pte(exported(f"{m}-tiny"), model_type=m) for m in MODELS}
    yield made
    for engine in made.values():
        engine.close()


PUBLISHED = {
    "llada": "llada.generate_fast",
    "dream": "dream.generate_blocks",
    "sdar": "sdar.generate",
    "fast_dllm_v2": "fast_dllm_v2.generate",
}


@pytest.mark.parametrize("model", MODELS)
def test_published_algorithms(engines, model):
    engine = engines[model]
    tokens = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=24, temperature=0, stop_ids=[]))
    generation = engine.last_generation
    assert generation.algorithm == PUBLISHED[model]
    assert tokens == PROMPT + generation.answer_ids and len(tokens) == len(PROMPT) + 24
    assert engine.facts.mask_id not in tokens
    cut = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=24, temperature=0))
    ends = [i for i, t in enumerate(tokens) if i >= len(PROMPT) and t in engine.facts.stop_ids]
    assert cut == tokens[: ends[0] if ends else None]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", (1, 5, 17))
def test_exact_length(engines, model, n):
    for algorithm in (None, "blocks"):
        config = DiffusionGenerationConfig(max_new_tokens=n, temperature=0, stop_ids=[], algorithm=algorithm)
        assert len(engines[model].generate(PROMPT, config)) == len(PROMPT) + n
    assert engines[model].generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=0)) == PROMPT


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("algorithm", (None, "blocks", "ar.generate"))
def test_seeds_reproduce(engines, model, algorithm):
    def draw(seed):
        return engines[model].generate(
            PROMPT,
            DiffusionGenerationConfig(max_new_tokens=16, temperature=2.5, seed=seed, stop_ids=[], algorithm=algorithm),
        )

    assert draw(1) == draw(1)
    assert len({tuple(draw(s)) for s in range(6)}) > 1
    random.seed(5)
    first = draw(None)
    random.seed(5)
    assert draw(None) == first


def test_block_size(engines):
    def blocks(model, **keywords):
        engines[model].generate(
            PROMPT, DiffusionGenerationConfig(max_new_tokens=32, temperature=0, stop_ids=[], **keywords)
        )
        return engines[model].last_generation

    assert len({s.block for s in blocks("llada", block_size=8).steps}) == 4
    assert len({s.block for s in blocks("llada").steps}) == 1  # the model's own 32, not the config's 4
    assert blocks("sdar", block_size=8).algorithm == "sdar.generate"
    assert blocks("fast_dllm_v2", block_size=4).algorithm == "fast_dllm_v2.generate"
    assert blocks("fast_dllm_v2", block_size=5).algorithm == "blocks"  # does not divide the attention's 32
    with pytest.raises(ValueError, match="block_size"):
        blocks("llada", block_size=0)


def test_what_the_published_algorithm_lacks_the_block_sampler_does(engines):
    cases = [
        ("llada", {"top_k": 5, "temperature": 1.0}, "blocks"),
        ("llada", {"top_p": 0.5, "temperature": 1.0}, "blocks"),
        ("fast_dllm_v2", {"top_k": 5, "temperature": 1.0}, "blocks"),
        ("sdar", {"margin_confidence": True}, "blocks"),
        ("llada", {"top_k": 5, "temperature": 0}, "llada.generate_fast"),
        ("dream", {"neg_entropy": True}, "dream.diffusion_generate"),
        ("dream", {"margin_confidence": True}, "dream.diffusion_generate"),
        ("sdar", {"top_k": 5, "top_p": 0.9, "temperature": 1.0}, "sdar.generate"),
        (
            "dream",
            {"algorithm": "dream.diffusion_generate", "options": {"alg": "maskgit_plus", "steps": 8}},
            "dream.diffusion_generate",
        ),
    ]
    for model, keywords, algorithm in cases:
        tokens = engines[model].generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=8, stop_ids=[], **keywords))
        assert engines[model].last_generation.algorithm == algorithm, (model, keywords)
        assert len(tokens) == len(PROMPT) + 8


def test_stop_ids_and_eos(engines):
    engine = engines["llada"]
    free = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=16, temperature=0, stop_ids=[]))
    middle = free[len(PROMPT) + 3]
    first = free.index(middle, len(PROMPT))
    for keywords in ({"stop_ids": [middle]}, {"stop_ids": [], "eos_token_id": middle}):
        for algorithm in (None, "blocks"):
            config = DiffusionGenerationConfig(max_new_tokens=16, temperature=0, algorithm=algorithm, **keywords)
            tokens = engine.generate(PROMPT, config)
            assert middle not in tokens[len(PROMPT) :]
            if algorithm is None:
                assert tokens == free[:first] and engine.last_generation.finish_reason == "stop"
    assert DiffusionGenerationConfig().eos_token_id == 2  # of no use: id 2 is an ordinary token of these vocabularies


def test_empty_prompt_and_kinds_of_prompts(engines):
    engine = engines["sdar"]
    config = DiffusionGenerationConfig(max_new_tokens=8, temperature=0, stop_ids=[])
    assert len(engine.generate([], config)) == 8
    want = engine.generate(PROMPT, config)
    assert engine.generate(tuple(PROMPT), config) == engine.generate([PROMPT], config) == want
    torch = oracle("torch", "tensors of a caller are")
    assert engine.generate(torch.tensor([PROMPT]), config) == want


def test_stream_yields_positions(engines):
    for model in MODELS:
        config = DiffusionGenerationConfig(max_new_tokens=12, temperature=0, stop_ids=[])
        tokens = engines[model].generate(PROMPT, config)
        seen = dict(engines[model].generate_stream(PROMPT, config))
        assert min(seen) == len(PROMPT)
        assert [seen[len(PROMPT) + i] for i in range(12)] == tokens[len(PROMPT) :]
    stream = engines["sdar"].generate_stream(PROMPT, config)
    next(stream)
    stream.close()
    assert engines["sdar"].generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=4, temperature=0))


def test_cancelling(engines):
    for algorithm in (None, "blocks"):
        tokens = engines["sdar"].generate(
            PROMPT,
            DiffusionGenerationConfig(max_new_tokens=32, temperature=0, stop_ids=[], algorithm=algorithm),
            on_step=lambda step, ids: False,
        )
        assert engines["sdar"].last_generation.finish_reason == "cancelled" and len(tokens) < len(PROMPT) + 32
        assert engines["sdar"].facts.mask_id not in tokens


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_constructor_refuses(exported, tmp_path):
    path = exported("sdar-tiny")
    with pytest.raises(ValueError, match="Unknown model_type: gpt"):
        DiffusionEngine.from_pte(path, model_type="gpt")
    with pytest.raises(ValueError, match="Cannot provide both"):
        DiffusionEngine(model=len, pte_path=path)
    with pytest.raises(ValueError, match="Must provide either"):
        DiffusionEngine()
    with pytest.raises(ValueError, match="runtime"):
        DiffusionEngine.from_pte(path, runtime="cuda")
    with pytest.raises(FileNotFoundError, match="PTE file not found: "):
        DiffusionEngine.from_pte(tmp_path / "none.pte")
    (tmp_path / "bad.pte").write_bytes(b"no program" * 50)
    with pytest.raises(RuntimeError):
        DiffusionEngine.from_pte(tmp_path / "bad.pte")


@pytest.mark.parametrize("engine_class", (DiffusionEngine, InferenceEngine))
def test_model_type_is_the_files(exported, engine_class):
    path = exported("sdar-tiny")
    with engine_class.from_pte(path) as engine:
        assert engine.model_type == "sdar"
    for wrong in ("dream", "fast_dllm_v2", "fast_dllm"):
        with pytest.raises(ValueError, match="holds a sdar model"):
            engine_class.from_pte(path, model_type=wrong)
    with engine_class.from_pte(exported("fast_dllm_v2-tiny"), model_type="fast_dllm") as engine:
        assert engine.model_type == "fast_dllm_v2"


def test_attributes(exported):
    with DiffusionEngine.from_pte(exported("dream-tiny"), max_seq_len=64) as engine:
        assert engine.pte_path == exported("dream-tiny") and engine.model is None and engine.device == "cpu"
        assert engine.use_kv_cache is False and engine._is_pte and engine.sampler is None
        assert engine.block_manager.mask_token_id == engine.facts.mask_id == 1323
        assert engine.facts.max_context == engine.max_seq_len == 64
        with pytest.raises(ValueError, match="64"):
            engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=60, temperature=0))
    with pytest.raises(ValueError, match="exported for 128 positions"):
        DiffusionEngine.from_pte(exported("dream-tiny"), max_seq_len=4096)


def test_generate_refuses(engines):
    engine = engines["llada"]
    for prompt in ([99999], [-1], list(range(5)) * 100):
        for algorithm in (None, "blocks"):
            with pytest.raises(ValueError):
                engine.generate(prompt, DiffusionGenerationConfig(max_new_tokens=8, algorithm=algorithm))
    with pytest.raises(ValueError, match="vocabulary"):
        engine.generate(PROMPT, DiffusionGenerationConfig(mask_token_id=151665))
    with pytest.raises(ValueError, match="algorithm"):
        engine.generate(PROMPT, DiffusionGenerationConfig(algorithm="magic"))


# ---- one token after the other ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ar(exported):
    with InferenceEngine.from_pte(exported("fast_dllm_v2-tiny")) as engine:
        yield engine


def test_autoregressive_returns_generated_ids_only(ar):
    numpy = oracle("numpy", "arrays of logits are")
    config = GenerationConfig(max_new_tokens=12, temperature=0)
    generated = ar.generate(PROMPT, config)
    assert 0 < len(generated) <= 12 and list(ar.generate_stream(PROMPT, config)) == generated
    # The same by hand, causal and without a cache.
    ids, want = list(PROMPT), []
    with ar._pte_module.session() as session:
        for _ in range(12):
            row = numpy.array(session.forward(ids, attn_block=1, rows=[len(ids) - 1])[0])
            row[ar.facts.mask_id] = -1e30
            want.append(int(row.argmax()))
            ids.append(want[-1])
            if want[-1] in ar.facts.stop_ids:
                break
    assert generated == want
    # The id that ends the answer is part of it, as in the original.
    assert (generated[-1] in ar.facts.stop_ids) == (ar.last_generation.finish_reason == "stop")


def test_autoregressive_stop_sequences_and_eos(ar):
    free = ar.generate(PROMPT, GenerationConfig(max_new_tokens=10, temperature=1.5, seed=4))
    assert free == ar.generate(PROMPT, GenerationConfig(max_new_tokens=10, temperature=1.5, seed=4))
    assert len(free) > 3
    stopped = ar.generate(
        PROMPT, GenerationConfig(max_new_tokens=10, temperature=1.5, seed=4, stop_sequences=[[9999], free[1:3]])
    )
    assert stopped == free[:3]
    ended = ar.generate(PROMPT, GenerationConfig(max_new_tokens=10, temperature=1.5, seed=4, eos_token_id=free[2]))
    assert ended == free[: free.index(free[2]) + 1]
    check = InferenceEngine._check_stop_sequences
    assert check([1, 2, 3, 4, 5], [[4, 5]]) is True and check([1, 2, 3, 4, 5], [[3, 4]]) is False
    assert check([1, 2], [[1, 2, 3]]) is False and check([1, 2], [[]]) is False


def test_repetition_penalty(ar):
    numpy = oracle("numpy", "arrays of logits are")
    out = ar._apply_repetition_penalty(numpy.array([2.0, -2.0, 1.0, 0.0]), [0, 0, 1, 3], 2.0)
    assert out.tolist() == [1.0, -4.0, 1.0, 0.0]
    plain = ar.generate(PROMPT, GenerationConfig(max_new_tokens=20, temperature=0))
    strong = ar.generate(PROMPT, GenerationConfig(max_new_tokens=20, temperature=0, repetition_penalty=50.0))
    assert len(set(strong) | set(PROMPT)) == len(strong) + len(set(PROMPT)) - len(set(strong) & set(PROMPT))
    assert len(set(strong)) >= len(strong) - 1 and strong != plain


def test_prefill_and_decode_steps(ar):
    numpy = oracle("numpy", "arrays of logits are")
    logits, cache = ar._prefill([PROMPT])
    assert (
        logits.shape == (1, len(PROMPT), ar.facts.vocab_size) and cache is not None and ar._current_pos == len(PROMPT)
    )
    row, _ = ar._decode_step(12)
    assert row.shape == (ar.facts.vocab_size,) and ar._current_pos == len(PROMPT) + 1
    with ar._pte_module.session() as session:
        assert numpy.array_equal(session.forward([*PROMPT, 12], attn_block=1)[-1], row)
    ar.reset_cache()
    assert ar._current_pos == 0 and ar._kv_cache is None
    result = ar.benchmark(prompt_length=10, generate_length=5, warmup=1, runs=2)
    assert result["prefill_tokens"] == 10 and result["decode_tokens"] == 5
    assert result["prefill_ms"] > 0 and result["decode_ms"] > 0 and result["tokens_per_sec"] > 0


def test_generation_config_sampler():
    from diffulex_edge.runtime.sampler import GreedySampler, TopPSampler

    assert isinstance(GenerationConfig(temperature=0).get_sampler(), GreedySampler)
    assert isinstance(GenerationConfig(temperature=0.8).get_sampler(3), TopPSampler)
