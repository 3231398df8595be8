"""The original system's names: engines, configurations, samplers, export, scripts (docs/DIFFERENCES.md)."""

import inspect
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import DATA, MODELS, exported  # noqa: F401 - a fixture
from oracles import oracle

import diffulex_edge
from diffulex_edge.runtime import (
    BlockStatus,
    DiffusionBlock,
    DiffusionBlockManager,
    DiffusionEngine,
    DiffusionGenerationConfig,
    DiffusionSampler,
    GenerationConfig,
    InferenceEngine,
)

ROOT = Path(__file__).resolve().parent.parent.parent
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


# ---- callables -------------------------------------------------------------------------------------------------------

VOCAB, MASK = 40, 39


def scripted(ids):
    """Row i is sure of token (3 * i) % 30, less so the further it is; unshifted."""
    return [[6.0 + (i % 3) if t == (3 * i) % 30 else 0.0 for t in range(VOCAB)] for i in range(len(ids))]


@pytest.mark.parametrize("kind", ("list", "numpy", "tuple", "torch"))
@pytest.mark.parametrize("algorithm", (None, "blocks"))
@pytest.mark.parametrize("model_type", ("llada", "sdar"))
def test_any_callable(kind, algorithm, model_type):
    module = None if kind in ("list", "tuple") else oracle(kind, "its arrays are")
    make = {
        "list": lambda r: r,
        "tuple": lambda r: ([r], None),
        "numpy": lambda r: module.array([r], dtype="float32"),
        "torch": lambda r: module.tensor(r),
    }[kind]
    engine = DiffusionEngine.from_model(lambda ids: make(scripted(ids)), model_type=model_type)
    config = DiffusionGenerationConfig(
        max_new_tokens=10, block_size=4, temperature=0, mask_token_id=MASK, algorithm=algorithm
    )
    assert engine.generate([1, 2, 3], config) == [1, 2, 3] + [(3 * i) % 30 for i in range(3, 13)]
    assert engine.model is not None and engine.use_kv_cache is True and not engine._is_pte


def test_a_torch_module_gets_positions_and_mask():
    torch = oracle("torch", "tensors of a caller are")
    seen = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type(
                "C", (), {"vocab_size": VOCAB, "diffusion_block_size": 4, "max_position_embeddings": 64}
            )()

        def forward(self, input_ids, positions, mask=None, kv_cache=None):
            seen.append((input_ids.shape, positions.tolist()[0], None if mask is None else mask[0, 0, 0].tolist()))
            return torch.tensor([scripted(input_ids[0])]), []

    model = Model()
    engine = DiffusionEngine.from_model(model, model_type="sdar")
    assert model.training is False
    tokens = engine.generate([1, 2], DiffusionGenerationConfig(max_new_tokens=6, temperature=0, mask_token_id=MASK))
    assert tokens == [1, 2] + [(3 * i) % 30 for i in range(2, 8)]
    shape, positions, first_row = seen[-1]
    assert positions == list(range(shape[1])) and first_row[:4] == [0.0] * 4 and set(first_row[4:]) <= {-10000.0}


def test_callables_that_answer_nonsense():
    engine = DiffusionEngine.from_model(lambda ids: [[0.0] * VOCAB] * 3, model_type="llada")
    with pytest.raises(ValueError, match="logits of shape"):
        engine.generate([1, 2], DiffusionGenerationConfig(mask_token_id=MASK))
    engine = DiffusionEngine.from_model(lambda ids: [[0.0] * VOCAB for _ in ids], model_type="llada")
    with pytest.raises(ValueError, match="mask id 126336 is outside the vocabulary of 40"):
        engine.generate([1, 2], DiffusionGenerationConfig(mask_token_id=126336))

    def fail(ids):
        raise ZeroDivisionError("mine")

    for algorithm in (None, "blocks"):
        with pytest.raises(ZeroDivisionError):
            DiffusionEngine.from_model(fail, model_type="llada").generate(
                [1], DiffusionGenerationConfig(mask_token_id=MASK, algorithm=algorithm)
            )


def test_autoregressive_callable():
    def model(ids):
        return [[5.0 if t == (ids[i] + 1) % 30 else 0.0 for t in range(VOCAB)] for i in range(len(ids))]

    engine = InferenceEngine.from_model(model)
    assert engine.generate([4], GenerationConfig(max_new_tokens=5, temperature=0)) == [5, 6, 7, 8, 9]
    assert engine.generate([29], GenerationConfig(max_new_tokens=9, temperature=0)) == [0, 1, 2]  # the default eos
    assert engine.generate([29], GenerationConfig(max_new_tokens=5, temperature=0, eos_token_id=1)) == [0, 1]


# ---- blocks, older interface -----------------------------------------------------------------------------------------


def test_older_block_interface():
    block = DiffusionBlock(start_pos=10, length=3, mask_token_id=100)
    assert block.is_active and block.global_mask_token_ids == [10, 11, 12] and block.get_global_pos(2) == 12
    block.accept_token(1, 7)
    with pytest.raises(ValueError):
        block.accept_token(1, 8)
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            block.accept_token(wrong, 1)
        with pytest.raises(IndexError):
            block.confirm_token(wrong, 1)
    block.accept_token(0, 5)
    block.accept_token(2, 6)
    assert block.is_complete and not block.is_active and block.get_sequence_tokens() == [5, 7, 6]
    manager = DiffusionBlockManager()
    assert [manager.create_block(0, 2), manager.create_block(2, 3)] == [0, 1]
    manager.update_block(0, [0, 1], [8, 9])
    assert [i for i, _ in manager.get_active_blocks()] == [1] and manager.get_all_mask_positions() == [2, 3, 4]
    for arguments, kind in (((5, [0], [1]), IndexError), ((-1, [0], [1]), IndexError), ((1, [0], [1, 2]), ValueError)):
        with pytest.raises(kind):
            manager.update_block(*arguments)
    for arguments in ((0, 0), (0, -1), (-1, 4)):
        with pytest.raises(ValueError):
            manager.create_block(*arguments)
    manager.reset()
    assert len(manager) == 0 and not manager.has_active_blocks()


def test_newer_block_interface():
    block = DiffusionBlock(3, 5, 2)
    assert (block.block_id, block.start_pos, block.length, block.status) == (3, 5, 2, BlockStatus.PENDING)
    assert block.confirm_token(0, 1) is False and block.confirm_token(0, 9) is False and block.tokens == {0: 1}
    with pytest.raises(ValueError):
        block.confirm()
    assert block.confirm_token(1, 2) is True
    block.confirm()
    assert block.status is BlockStatus.CONFIRMED


def test_sample_blocks_fills_all_active_blocks():
    manager, sampler = DiffusionBlockManager(), DiffusionSampler(confidence_threshold=0.9, temperature=0.0)
    manager.create_block(1, 2)
    manager.create_block(3, 2)
    rows = [[0.0] * 8 for _ in range(5)]
    rows[1][4] = rows[4][6] = 9.0
    output = sampler.sample_blocks(manager, rows)
    assert sorted(output.sampled_tokens) == [1, 2, 3, 4] and len(output.block_states) == 2
    assert output.accepted_tokens == {1: 4, 4: 6}
    assert manager.get_all_mask_positions() == [2, 3]
    rows[1][4], rows[2][5] = 0.0, 9.0  # shifted: rows 2 and 4 predict positions 3 and 5
    output = sampler.sample_blocks(manager, rows, last_logits=[0.0] * 8)
    assert output.accepted_tokens[3] == 5
    assert DiffusionSampler(neg_entropy=True, temperature=0.0).sample_tokens([[1.0, 1.0, 1.0]])[0][0] < 0


def test_token_samplers():
    from diffulex_edge.runtime.sampler import TopKSampler, TopPSampler, get_sampler

    logits = [0.5, 2.0, 1.0, 0.0]
    assert get_sampler("greedy").sample(logits) == 1 and get_sampler("greedy").sample([logits, logits]) == 1
    for make in (
        lambda: TopKSampler(2, 1.0, seed=3),
        lambda: TopPSampler(0.9, 1.0, seed=3),
        lambda: get_sampler("temperature", seed=3),
    ):
        sampler = make()
        draws = [sampler.sample(logits) for _ in range(40)]
        sampler.reset()
        assert [sampler.sample(logits) for _ in range(40)] == draws and make().sample(logits) == draws[0]
        assert len(set(draws)) > 1
    assert {TopKSampler(2, seed=i).sample(logits) for i in range(50)} == {1, 2}
    assert TopPSampler(0.1, seed=1).sample(logits) == 1 and TopKSampler(3, temperature=0).sample(logits) == 1
    with pytest.raises(ValueError, match="Unknown sampling strategy"):
        get_sampler("beam")


# ---- export, quantisation, containers, scripts -----------------------------------------------------------------------


def test_export_config_round_trip():
    from diffulex_edge.export import BackendType, ExportConfig, QuantizationType

    config = ExportConfig()
    assert config.output_path == Path("model.pte") and config.backend is BackendType.REFERENCE
    assert (config.num_kv_heads, config.head_dim, config.intermediate_size) == (8, 64, 2048)
    config = ExportConfig(
        output_path=Path("a.pte"), backend=BackendType.XNNPACK, quantization=QuantizationType.DYNAMIC_INT8
    )
    assert ExportConfig.from_json(config.to_json()) == config
    assert config.get_model_config()["hidden_size"] == 512


def test_exporter_writes_checkpoints(tmp_path):
    from diffulex_edge.export import DiffuLexExporter, ExportConfig, export_model

    checkpoint = DATA / "checkpoints" / "sdar-tiny"
    result = export_model(
        checkpoint, output_path=tmp_path / "sub" / "a.pte", quantization="dynamic_int8", max_seq_len=64
    )
    assert result.success and result.file_size_mb > 0 and result.output_path.is_file()
    metadata = diffulex_edge.inspect(result.output_path)["metadata"]
    assert metadata["get_quantization"] == ["int8-dynamic"] and metadata["get_max_context_len"] == [64]
    result = DiffuLexExporter(
        ExportConfig(backend="xnnpack", checkpoint_path=checkpoint, output_path=tmp_path / "b.pte")
    ).export()
    assert result.success, result.error_message
    result = export_model(checkpoint, output_path=tmp_path / "c.pte", quantization="static_int8")
    assert result.success, result.error_message
    assert diffulex_edge.inspect(result.output_path)["metadata"]["get_quantization"] == ["int8-static"]
    (tmp_path / "empty.jsonl").write_text("")
    result = export_model(checkpoint, output_path=tmp_path / "d.pte", quantization="static_int8",
                          calibration_data_path=tmp_path / "empty.jsonl")
    assert not result.success and "empty.jsonl" in result.error_message and not (tmp_path / "d.pte").exists()
    with pytest.raises(RuntimeError, match="Backend 'reference' not found"):
        DiffuLexExporter(ExportConfig()).export(checkpoint)
    assert DiffuLexExporter(ExportConfig(backend="xnnpack")).get_backend_info()["available"] is True


def test_backends():
    from diffulex_edge.backends import BackendConfig, BackendRegistry, QNNBackend

    assert {"xnnpack", "qnn", "coreml"} <= set(BackendRegistry.list_backends()) and BackendRegistry.create(
        "none"
    ) is None
    result = BackendRegistry.create("xnnpack", BackendConfig(max_seq_len=32)).export(
        DATA / "checkpoints" / "llada-tiny"
    )
    assert result.success and result.metadata["buffer_size_bytes"] == len(result.buffer)
    assert QNNBackend().is_available() is False
    assert QNNBackend().export("x").error_message == "QNN is not available: this build exports to xnnpack"


def test_quantisation_settings():
    import diffulex_edge
    from diffulex_edge.quant import QuantizationConfig, QuantizationDtype, QuantizationMode

    config = QuantizationConfig()
    assert config.mode is QuantizationMode.DYNAMIC and config.quantization == "int8-dynamic"
    assert (
        QuantizationConfig(mode=QuantizationMode.QAT).is_qat and QuantizationConfig(dtype="fp32").quantization == "none"
    )
    assert QuantizationConfig(dtype=QuantizationDtype.INT4).quantization == "int4-g32"
    assert QuantizationConfig(dtype=QuantizationDtype.FP16).quantization == "fp16"
    assert QuantizationConfig(mode=QuantizationMode.WEIGHT_ONLY).quantization == "int8-weight-only"
    names = {name for scheme in diffulex_edge.export_schemes() for name in (scheme.name, *scheme.aliases)}
    assert {"int4-g32", "fp16", "int8-weight-only"} <= names
    assert QuantizationConfig(mode=QuantizationMode.STATIC).quantization == "int8-static"
    with pytest.raises(ValueError):
        QuantizationConfig(dtype="int4", mode=QuantizationMode.STATIC).quantization


@pytest.mark.parametrize("kind", ("numpy", "torch"))
def test_kv_cache_container(kind):
    module = oracle(kind, "its arrays are")
    from diffulex_edge.model import KVCache, KVCacheConfig, create_kv_caches

    config = KVCacheConfig(2, 3, 4, 8, dtype=module.float32)
    cache = create_kv_caches(config, batch_size=1)
    assert tuple(cache.cache.shape) == (2, 2, 1, 3, 8, 4)
    ones = module.ones((1, 3, 5, 4))
    cache.update_layer_cache(1, ones, 2 * ones, start_pos=2)
    k, v = cache.get_layer_cache(1)
    assert (
        cache.current_seq_len == 7 and float(k.sum()) == 60 and float(v.sum()) == 120 and float(k[:, :, :2].sum()) == 0
    )
    with pytest.raises(ValueError):
        cache.update_layer_cache(0, ones, ones, start_pos=4)
    again = KVCache.from_tensor(cache.get_cache_tensor(), config, current_seq_len=7)
    again.clear()
    assert again.current_seq_len == 0 and float(cache.cache.sum()) == 0


def test_model_types_of_configs():
    from diffulex_edge.model import detect_model_type

    for name in MODELS:
        config = json.loads((DATA / "checkpoints" / f"{name}-tiny" / "config.json").read_text())
        assert detect_model_type(config) == name
    with pytest.raises(ValueError, match="LlamaForCausalLM"):
        detect_model_type({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})


def run_module(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_export_script(tmp_path):
    checkpoint = DATA / "checkpoints" / "dream-tiny"
    script = "diffulex_edge.scripts.export_model"
    done = run_module(
        script,
        "--hf-model-path",
        checkpoint,
        "--output-path",
        tmp_path / "a.pte",
        "--backend",
        "xnnpack",
        "--quantization",
        "int8-dynamic",
        "--max-seq-len",
        64,
    )
    assert done.returncode == 0 and "a.pte" in done.stdout, done.stderr
    done = run_module(
        script,
        checkpoint,
        "-o",
        tmp_path / "b.pte",
        "--model-type",
        "dream",
        "--max-seq-len",
        "64",
        "--batch-size",
        "1",
        "--quantization",
        "dynamic_int8",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()
    for arguments, status in (
        (["-o", "x"], 2),
        ([checkpoint], 2),
        ([checkpoint, "--hf-model-path", checkpoint, "-o", "x"], 2),
        ([checkpoint, "-o", tmp_path / "c", "--batch-size", "2"], 2),
        ([checkpoint, "-o", tmp_path / "c", "--backend", "coreml"], 1),
        ([tmp_path / "none", "-o", tmp_path / "c"], 1),
    ):
        done = run_module(script, *arguments)
        assert done.returncode == status and done.stderr.strip(), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()


SLOW_EXPORT = """
import runpy, sys, time
import diffulex_edge
export = diffulex_edge.export_checkpoint
def slow(*arguments, progress, **keywords):
    def slowly(done, total):
        print("writing", flush=True)
        time.sleep(0.3)
    return export(*arguments, progress=slowly, **keywords)
diffulex_edge.export_checkpoint = slow
sys.argv = ["export_model", *sys.argv[1:]]
runpy.run_module("diffulex_edge.scripts.export_model", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_export_script_ended_by_a_signal(tmp_path, number):
    target = tmp_path / "a.pte"
    target.write_text("older")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EXPORT, DATA / "checkpoints" / "sdar-tiny", "-o", target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.pte"] and target.read_text() == "older"


def test_help_of_the_export_script(monkeypatch):
    text = " ".join(run_module("diffulex_edge.scripts.export_model", "--help").stdout.split())
    for words in "int8-dynamic (or int8, dynamic-int8)", "none (or float32, fp32) (default)", "xnnpack (default)":
        assert words in text, words
    monkeypatch.setenv("DLX_LIBRARY", "/no/such/file")
    text = " ".join(run_module("diffulex_edge.scripts.export_model", "--help").stdout.split())
    assert "a name of diffulex_edge.export_schemes()" in text


def test_chat_arguments(monkeypatch):
    from diffulex_edge.__main__ import arguments_for_chat

    assert arguments_for_chat(
        [
            "--pte-path",
            "m.pte",
            "--max-tokens=5",
            "--temperature",
            "0.8",
            "--device",
            "cpu",
            "--model-type=sdar",
            "--stats",
        ]
    ) == ["--pte-path", "m.pte", "--max-new-tokens", "5", "--temperature", "0.8", "--stats"]
    with pytest.raises(ValueError, match="export_model"):
        arguments_for_chat(["--model-path", "folder"])
    with pytest.raises(ValueError, match="--max-tokens needs a value"):
        arguments_for_chat(["--pte-path", "m.pte", "--max-tokens"])


def test_status_of_the_chat():
    for arguments in (["--model-path", "folder"], ["--pte-path", "m.pte", "--top-k"], ["--no-such-flag"]):
        done = run_module("diffulex_edge", *arguments)
        assert done.returncode == 2 and done.stderr.strip() and "Traceback" not in done.stderr, arguments
    assert run_module("diffulex_edge", "--pte-path", "/no/such/file.pte").returncode == 1


def test_running_the_package(tmp_path):
    assert run_module("diffulex_edge").returncode == 2
    assert "--pte-path" in run_module("diffulex_edge", "--help").stdout
    program = tmp_path / "diffulex-edge"
    program.write_text("#!/bin/sh\nprintf '%s ' \"$@\"\n")
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "DLX_CLI": str(program)}
    done = subprocess.run(
        [sys.executable, "-m", "diffulex_edge", "--pte-path", "m.pte", "--top-k", "5"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["chat", "--pte-path", "m.pte", "--top-k", "5"] and done.returncode == 0
    environment["DLX_CLI"] = str(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-m", "diffulex_edge", "--pte-path", "m.pte"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "cmake --build" in done.stderr
