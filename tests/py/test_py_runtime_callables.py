"""The original system's engines over callables that are no file of ours: functions, modules of PyTorch."""

import pytest
from oracles import oracle

from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig, GenerationConfig, InferenceEngine

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
