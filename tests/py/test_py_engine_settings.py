"""Settings of DiffusionEngine that change what the decoder does: num_iterations and shift_logits."""

import pytest
from exported_files import MODELS, exported  # noqa: F401 - a fixture

from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig

PROMPT = [5, 6, 7, 8, 9, 10, 11]
PUBLISHED = {
    "llada": "llada.generate_fast",
    "dream": "dream.generate_blocks",
    "sdar": "sdar.generate",
    "fast_dllm_v2": "fast_dllm_v2.generate",
}


@pytest.fixture(scope="module")
def engines(exported):
    made = {m: DiffusionEngine.from_pte(exported(f"{m}-tiny"), model_type=m) for m in MODELS}
    yield made
    for engine in made.values():
        engine.close()


def denoising_passes(generation):
    """Passes that reveal masks they run, by block."""
    counts = {}
    for step in generation.steps:
        if any(step.start <= a.position < step.start + step.rows for a in step.accepted):
            counts[step.block] = counts.get(step.block, 0) + 1
    return counts


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("algorithm", (None, "blocks"))
def test_num_iterations_bounds_the_passes(engines, model, algorithm):
    def passes(n):
        config = DiffusionGenerationConfig(
            max_new_tokens=32,
            num_iterations=n,
            confidence_threshold=1.0,
            temperature=0,
            stop_ids=[],
            algorithm=algorithm,
        )
        assert len(engines[model].generate(PROMPT, config)) == len(PROMPT) + 32
        return max(denoising_passes(engines[model].last_generation).values())

    assert [passes(n) for n in (1, 2, 3)] == [1, 2, 3] and passes(0) == 1
    assert passes(1000) == passes(10**9) >= 4


def test_num_iterations_of_named_algorithms_and_rankings(engines):
    def passes(**keywords):
        engines["dream"].generate(
            PROMPT, DiffusionGenerationConfig(max_new_tokens=32, temperature=0, stop_ids=[], **keywords)
        )
        return engines["dream"].last_generation.num_forwards

    named = {"algorithm": "dream.diffusion_generate"}
    assert passes(**named) > 10 and passes(num_iterations=4, **named) == 4
    assert passes(num_iterations=4, options={"max_passes": 7}, **named) == 7
    assert passes(num_iterations=4, neg_entropy=True) == 4
    assert 4 < passes(num_iterations=4, neg_entropy=True, block_size=16) <= 8


def test_shift_can_be_overridden(engines):
    def decode(shift):
        return engines["sdar"].generate(
            PROMPT,
            DiffusionGenerationConfig(
                max_new_tokens=12, temperature=0, stop_ids=[], algorithm="blocks", shift_logits=shift
            ),
        )

    assert decode(None) == decode(False) != decode(True)
    engines["sdar"].generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=4, shift_logits=True))
    assert engines["sdar"].last_generation.algorithm == "fast_dllm_v2.generate"


@pytest.mark.parametrize("model", MODELS)
def test_shift_of_an_engine(exported, engines, model):
    """The algorithm follows, attention and tokens are the file's, and a config has the last word."""
    shifted = bool(engines[model].facts.logits_shift)
    other = {"llada": "dream", "dream": "llada", "sdar": "fast_dllm_v2", "fast_dllm_v2": "sdar"}[model]
    config = DiffusionGenerationConfig(max_new_tokens=12, temperature=0, stop_ids=[])
    tokens = engines[model].generate(PROMPT, config)
    with DiffusionEngine.from_pte(exported(f"{model}-tiny"), shift_logits=not shifted) as engine:
        overridden = engine.generate(PROMPT, config)
        assert engine.last_generation.algorithm == PUBLISHED[other]
        assert len(overridden) == len(PROMPT) + 12 and engine.facts.mask_id not in overridden
        config.shift_logits = shifted
        assert engine.generate(PROMPT, config) == tokens
        assert engine.last_generation.algorithm == PUBLISHED[model]
    with DiffusionEngine.from_pte(exported(f"{model}-tiny"), shift_logits=shifted) as engine:
        config.shift_logits = None
        assert engine.generate(PROMPT, config) == tokens


def test_shift_of_a_callable():
    """Row i of this model says that token i is followed by the next number."""
    def model(ids):
        return [[5.0 if token == (ids[i] + 1) % 16 else 0.0 for token in range(32)] for i in range(len(ids))]

    for shift, follows in ((True, True), (False, False)):
        engine = DiffusionEngine.from_model(model, model_type="llada", max_seq_len=32, shift_logits=shift)
        config = DiffusionGenerationConfig(
            max_new_tokens=4, block_size=1, temperature=0, stop_ids=[], mask_token_id=31, algorithm="blocks"
        )
        assert (engine.generate([1, 2, 3], config) == [1, 2, 3, 4, 5, 6, 7]) == follows
