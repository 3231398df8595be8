"""Every scheme on every family against a golden of its own rule: logits that numpy computes by the formulas of
docs/QUANTIZATION.md (scheme_reference.py), in this library and in the official runtime.

The goldens lie in tests/data/schemes; no activation of theirs is near a rounding edge, so that integers are the same
everywhere and only sums of floats differ."""
import json

import numpy as np
import pytest
from oracles import oracle
from safetensors.numpy import load_file

import diffulex_edge
from program import DATA, MODELS
from scheme_reference import Reference

FOLDER = DATA / "schemes"
CASES = [(model, case) for model in MODELS for case in json.loads((FOLDER / f"{model}.json").read_text())["cases"]]
NEAR = 1e-5     # of the logits' range, as between float programs


@pytest.fixture(scope="module")
def pte(tmp_path_factory):
    """pte(model, case) -> path"""
    folder, paths = tmp_path_factory.mktemp("schemes"), {}

    def export(model, case):
        key = (model, case["scheme"])
        if key not in paths:
            recipe = {"quantization_config": FOLDER / case["recipe"]} if "recipe" in case else {"quantization": case["scheme"]}
            if case["scheme"] == "int8-static":
                recipe["ranges"] = FOLDER / f"{model}.ranges.json"
            paths[key] = folder / f"{model}-{case['scheme']}.pte"
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / model, paths[key], max_seq_len=64, **recipe)
        return paths[key]

    return export


def golden(model, case):
    return load_file(FOLDER / f"{model}.safetensors")[case["logits"]]


def far(logits, want):
    """The largest difference of the rows that are kept, over the range of the golden."""
    return float(np.abs(np.asarray(logits)[-len(want):] - want).max() / (want.max() - want.min()))


def reference(model, case, **options):
    rules = json.loads((FOLDER / case["recipe"]).read_text())["tensors"] if "recipe" in case else []
    ranges = json.loads((FOLDER / f"{model}.ranges.json").read_text())["tensors"]
    return Reference(DATA / "checkpoints" / model, case["scheme"], [(r["pattern"], r["scheme"]) for r in rules], ranges, **options)


def named(model_and_case):
    return model_and_case[1]["scheme"] + "-" + model_and_case[0]


def test_every_scheme_has_goldens():
    assert {case["scheme"] for _, case in CASES} == {
        s.name for s in diffulex_edge.export_schemes() if "xnnpack" in s.backends} - {"none"}
    for scheme in ("fp16", "bf16", "int8-dynamic", "int8-static", "int8-weight-only", "int4"):
        assert [model for model, case in CASES if case["scheme"] == scheme] == list(MODELS)


@pytest.mark.parametrize("model, case", CASES, ids=map(named, CASES))
def test_the_formulas_give_what_is_recorded(model, case):
    """In float32 too: ids are such that it moves no activation across an edge."""
    for dtype in (np.float64, np.float32):
        assert far(reference(model, case, dtype=dtype).forward(case["input_ids"]), golden(model, case)) < NEAR


@pytest.mark.parametrize("model, case", CASES, ids=map(named, CASES))
def test_native_logits_are_the_goldens(pte, model, case):
    with diffulex_edge.Model(pte(model, case), threads=1) as opened:
        assert far(opened.session().forward(case["input_ids"]), golden(model, case)) < NEAR


@pytest.mark.parametrize("model, case", CASES, ids=map(named, CASES))
def test_logits_of_the_official_runtime_are_the_goldens(pte, model, case):
    oracle("torch", "the official runtime is")
    oracle("executorch.runtime", "the official runtime is")
    from layout_a import StockRuntime
    stock, ids = StockRuntime(pte(model, case), 64), case["input_ids"]
    assert far(stock.block_causal(ids, case["attn_block"] or len(ids)), golden(model, case)) < NEAR


@pytest.mark.parametrize("scheme", sorted({case["scheme"] for _, case in CASES}))
def test_goldens_of_other_rules_are_far(scheme):
    """What a golden is worth: float32 and other schemes are further away than its tolerance by far."""
    model, case = next((m, c) for m, c in CASES if c["scheme"] == scheme)
    others = {"fp16": ["none", "bf16"], "bf16": ["none", "fp16"]}.get(scheme, ["none", "int8-dynamic", "int8-weight-only", "int4"])
    for other in others:
        if other != scheme:
            assert far(reference(model, {**case, "scheme": other}).forward(case["input_ids"]), golden(model, case)) > 2 * NEAR, other
