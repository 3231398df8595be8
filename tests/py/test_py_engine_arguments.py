"""What the engines take: configurations of the original's revisions and mixes of them, ids, numbers, devices, files."""
import os
import subprocess
import warnings

import pytest
from exported_files import exported  # noqa: F401 - a fixture
from oracles import oracle

import diffulex_edge
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig, GenerationConfig, InferenceEngine

PROMPT = [5, 6, 7]


@pytest.fixture(scope="module")
def engine(exported):
    with DiffusionEngine.from_pte(exported("llada-tiny")) as opened:
        yield opened


@pytest.fixture(scope="module")
def autoregressive(exported):
    with InferenceEngine.from_pte(exported("llada-tiny")) as opened:
        yield opened


def test_the_originals_generation_config(engine):
    want = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=12, temperature=0, num_iterations=3,
                                                             block_size=4, confidence_threshold=0.5, stop_ids=[]))
    mixed = GenerationConfig(max_new_tokens=12, temperature=0, num_iterations=3, block_size=4, confidence_threshold=0.5,
                             stop_ids=[])
    assert engine.generate(PROMPT, mixed) == want and len(want) == 15
    assert list(engine.generate_stream(PROMPT, mixed))
    assert (mixed.num_iterations, GenerationConfig().num_iterations, GenerationConfig().block_size) == (3, 10, 4)
    # What it does not say is as DiffusionGenerationConfig has it: no top_k of 50.
    drawn = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=12, seed=4))
    assert engine.generate(PROMPT, GenerationConfig(max_new_tokens=12, seed=4)) == drawn
    for name, value in (("repetition_penalty", 1.5), ("stop_sequences", [[5]])):
        with pytest.raises(ValueError, match=f"{name} .* InferenceEngine has"):
            engine.generate(PROMPT, GenerationConfig(**{name: value}))
    with pytest.raises(TypeError, match="config is a dict; expected DiffusionGenerationConfig"):
        engine.generate(PROMPT, {"max_new_tokens": 4})


def test_the_autoregressive_engine_takes_both(autoregressive):
    want = autoregressive.generate(PROMPT, GenerationConfig(max_new_tokens=6, temperature=0))
    assert autoregressive.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=6, temperature=0)) == want


def test_the_third_positional_argument(exported):
    path = exported("sdar-tiny")
    for third in ("sdar", True, False):
        with InferenceEngine.from_pte(path, "cpu", third) as engine:
            assert engine.model_type == "sdar" and engine.use_kv_cache is (third is not False)
    with pytest.raises(ValueError, match="model_type 'dream' was given, but .* holds a sdar model"):
        InferenceEngine.from_pte(path, "cpu", "dream")
    assert InferenceEngine(lambda ids: [[0.0] * 9] * len(ids), None, "cpu", False).use_kv_cache is False
    assert InferenceEngine.from_model(lambda ids: [[0.0] * 9] * len(ids), "cpu", "dream").model_type == "dream"


@pytest.mark.parametrize("algorithm", [None, "blocks"])
@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "fast_dllm_v2"])
@pytest.mark.parametrize("prompt", [PROMPT, []])
def test_streams_stop_at_max_new_tokens(exported, family, algorithm, prompt):
    with DiffusionEngine.from_pte(exported(f"{family}-tiny")) as engine:
        for new in (1, 5, 9):
            config = DiffusionGenerationConfig(max_new_tokens=new, temperature=0, stop_ids=[], algorithm=algorithm)
            pieces = list(engine.generate_stream(prompt, config))
            ids = engine.generate(prompt, config)
            assert pieces == list(enumerate(ids))[len(prompt):] and len(pieces) <= new, "the places of the result"


@pytest.mark.parametrize("algorithm", [None, "blocks"])
@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "fast_dllm_v2"])
def test_streams_end_before_a_stop_id(exported, family, algorithm):
    with DiffusionEngine.from_pte(exported(f"{family}-tiny")) as engine:
        free = engine.generate(PROMPT, DiffusionGenerationConfig(max_new_tokens=16, temperature=0, stop_ids=[], seed=1))
        cut = 0
        for stop in sorted(set(free[len(PROMPT):])):
            config = DiffusionGenerationConfig(max_new_tokens=16, temperature=0, stop_ids=[stop], algorithm=algorithm)
            ids = engine.generate(PROMPT, config)
            assert list(engine.generate_stream(PROMPT, config)) == list(enumerate(ids))[len(PROMPT):]
            cut += len(ids) < len(PROMPT) + 16
        assert cut
        if algorithm is None:
            config = DiffusionGenerationConfig(max_new_tokens=16, temperature=0, stop_ids=[],
                                               options={"stop_ids": [free[-1]]})
            ids = engine.generate(PROMPT, config)
            assert list(engine.generate_stream(PROMPT, config)) == list(enumerate(ids))[len(PROMPT):]


@pytest.mark.parametrize("bad", [[2**31], [2**40], [-2**40], [1.0], [1.5], ["a"], [None], 5, [[1, 2], [3, 4]]])
def test_ids(engine, autoregressive, bad):
    for opened in (engine, autoregressive):
        with pytest.raises(ValueError, match="token ids must be"):
            opened.generate(bad)


@pytest.mark.parametrize("setting, words", [
    (dict(temperature=float("nan")), "temperature"), (dict(temperature=-0.5), "temperature"),
    (dict(temperature=float("inf")), "temperature"), (dict(top_p=-0.1), "top_p"), (dict(top_p=1.5), "top_p"),
    (dict(confidence_threshold=float("nan")), "threshold"), (dict(confidence_threshold=-1), "threshold"),
    (dict(top_k=-1), "top_k"), (dict(top_k=1.5), "top_k"), (dict(max_new_tokens=-1), "max_new_tokens"),
    (dict(max_new_tokens=2.5), "max_new_tokens"), (dict(num_iterations=-2), "num_iterations"), (dict(seed=-1), "seed"),
    (dict(seed=0.5), "seed"), (dict(mask_token_id=7.5), "mask_token_id"), (dict(stop_ids=[1.5]), "token ids must be"), (dict(algorithm="nonsense"), "nonsense"),
    (dict(options={"tempersture": 3}), "tempersture"), (dict(options={"steps": "many"}), "steps")])
@pytest.mark.parametrize("algorithm", [None, "blocks"])
def test_settings_are_checked_as_the_library_does(engine, autoregressive, setting, words, algorithm):
    config = DiffusionGenerationConfig(**{"max_new_tokens": 4, "algorithm": algorithm, **setting})
    with pytest.raises(ValueError, match=words):
        engine.generate(PROMPT, config)
    if not {"confidence_threshold", "num_iterations", "algorithm", "options", "stop_ids"} & set(setting):
        with pytest.raises(ValueError, match=words):
            autoregressive.generate(PROMPT, GenerationConfig(**{"max_new_tokens": 4, **setting}))


def test_the_block_sampler_has_no_further_options(engine):
    with pytest.raises(ValueError, match="block sampler has no option 'steps'"):
        engine.generate(PROMPT, DiffusionGenerationConfig(algorithm="blocks", options={"steps": 4}))


def test_devices(exported):
    for kind in (DiffusionEngine, InferenceEngine):
        with pytest.raises(ValueError, match="device 'cuda' was given; a .pte runs on the CPU"):
            kind.from_pte(exported("sdar-tiny"), "cuda")
        kind.from_pte(exported("sdar-tiny"), device="cpu").close()


@pytest.mark.parametrize("vocab, stand_in", [(40, 39), (130000, 126336), (151667, 151666)])
def test_a_mask_id_that_does_not_fit(vocab, stand_in):
    seen = set()

    def model(ids):
        seen.update(ids)
        return [[1.0] + [0.0] * (vocab - 1)] * len(ids)

    config = DiffusionGenerationConfig(max_new_tokens=2, temperature=0)
    engine = DiffusionEngine.from_model(model, model_type="sdar")
    with pytest.warns(UserWarning, match=f"vocabulary of {vocab} is too small.*id {stand_in} stands in"):
        assert engine.generate([1, 2], config) == [1, 2, 0, 0]
    assert stand_in in seen
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.generate([1, 2], DiffusionGenerationConfig(max_new_tokens=2, temperature=0, mask_token_id=7))


def test_programs_of_the_originals_contract(tmp_path):
    torch = oracle("torch", "a program with six inputs is")
    exir = oracle("executorch.exir", "a program with six inputs is")

    class Six(torch.nn.Module):
        def forward(self, ids, positions, cache, mask, insert, keep):
            x = (ids + positions).float()
            return x[..., None] * mask[0, :, 0, :, :1], cache * keep[:, None] + insert.sum() * 0

    layers, rows, most, heads, dim = 2, 4, 8, 1, 4
    inputs = (torch.zeros(1, rows, dtype=torch.long), torch.zeros(1, rows, dtype=torch.long),
              torch.zeros(layers, 2, 1, heads, most, dim), torch.zeros(layers, 1, 1, rows, most + rows),
              torch.zeros(layers, 1, 1, most, rows), torch.zeros(layers, 1, 1, most, 1))
    path = tmp_path / "six.pte"
    path.write_bytes(exir.to_edge(torch.export.export(Six(), inputs)).to_executorch().buffer)
    for opens in (diffulex_edge.Model, DiffusionEngine.from_pte, InferenceEngine.from_pte):
        with pytest.raises(RuntimeError, match="six inputs.*export the checkpoint again with 'diffulex-edge export'"):
            opens(path)
    with pytest.raises(RuntimeError, match="six inputs|6 inputs"):
        DiffusionEngine.from_pte(path, runtime="executorch")
    assert "six inputs" in diffulex_edge.inspect(path)["reason"]
    done = subprocess.run([os.environ["DLX_CLI"], "generate", "--pte-path", path, "--prompt", "a"], capture_output=True,
                          text=True)
    assert done.returncode == 1 and "six inputs" in done.stderr
