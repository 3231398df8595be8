"""quantize-report: errors of forms, mixes under budgets, and exports of them."""
import json

import pytest

from program import DATA, DEMO, run, run_json, start

FEW = ("--calibration-samples", 8, "--calibration-length", 40)


def mean_error(report, recipe):
    chosen = {rule["pattern"]: rule["scheme"] for rule in recipe["tensors"]}
    errors = [{f["form"]: f["error"] for f in t["forms"]}[chosen.get(t["name"], recipe["default"])] for t in report["tensors"]]
    return sum(errors) / len(errors)


def test_errors_of_forms():
    report = run_json("quantize-report", DATA / "checkpoints" / "dream-tiny", *FEW)
    assert len(report["tensors"]) == 3 * 7 and "mix" not in report
    for tensor in report["tensors"]:
        errors = {f["form"]: f["error"] for f in tensor["forms"]}
        assert errors["none"] == 0 < errors["fp16"] < errors["int8-dynamic"] < errors["int4"] < 0.1, tensor
        assert ("int4-g32" in errors) == (tensor["shape"][1] % 32 == 0)
    text = run("quantize-report", DATA / "checkpoints" / "dream-tiny", *FEW)
    assert text.count("\n") == 21 and text.startswith("layers.0.q ") and "mix" not in text


@pytest.mark.parametrize("budget", (1_300_000, 2_000_000, 5_000_000))
def test_a_mix_under_a_size(budget, tmp_path):
    recipe, path = tmp_path / "mix.json", tmp_path / "m.pte"
    report = run_json("quantize-report", DEMO, "--size", budget, "--output", recipe, *FEW)
    mix = report["mix"]
    assert json.loads(recipe.read_text()) == mix["recipe"] and mix["bytes"] <= budget
    assert mix["error"] == pytest.approx(mean_error(report, mix["recipe"]))
    summary = run_json("export", DEMO, path, "--quantization-config", recipe)
    assert sum(l["bytes"] for l in summary["linears"]) - summary["parts"]["head"] == mix["bytes"]
    # No single form that fits the budget is better.
    for form in {f["form"] for t in report["tensors"] for f in t["forms"]}:
        rows = [f for t in report["tensors"] for f in t["forms"] if f["form"] == form]
        if len(rows) == len(report["tensors"]) and sum(f["bytes"] for f in rows) <= budget * 0.999:
            assert mix["error"] <= sum(f["error"] for f in rows) / len(rows), form


def test_python_says_the_same(tmp_path):
    import diffulex_edge
    recipe = tmp_path / "mix.json"
    report = diffulex_edge.quantize_report(DATA / "checkpoints" / "sdar-tiny", max_bytes=300_000, recipe_path=recipe,
                                           count=8, length=40, stage=lambda *_: None)
    assert report == run_json("quantize-report", DATA / "checkpoints" / "sdar-tiny", "--size", "300k", *FEW)
    assert json.loads(recipe.read_text()) == report["mix"]["recipe"]
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.quantize_report(DATA / "checkpoints" / "sdar-tiny", count=8, length=40, stage=lambda *_: False)
    with pytest.raises(diffulex_edge.LimitError, match="too few"):
        diffulex_edge.quantize_report(DATA / "checkpoints" / "sdar-tiny", count=8, length=40, max_bytes=10)
    with pytest.raises(ValueError, match="budget"):
        diffulex_edge.quantize_report(DATA / "checkpoints" / "sdar-tiny", max_bytes=10, max_error=1.0)


def test_a_mix_under_an_error():
    loose, tight = (run_json("quantize-report", DEMO, "--error", x, *FEW)["mix"] for x in (0.004, 0.0004))
    assert tight["error"] <= 0.0004 < loose["error"] <= 0.004 and loose["bytes"] < tight["bytes"]


@pytest.mark.parametrize("options, status, sentence", [
    (("--size", "1M", "--error", "1"), 2, "cannot be combined"), (("--output", "x"), 2, "--output is for the mix"),
    (("--size", "much"), 2, "--size takes bytes"), (("--error", "0"), 2, "--error takes a number above 0"),
    (("--size", "10k", *FEW), 1, "are too few for 42 tensors"),
])
def test_what_is_refused(options, status, sentence, tmp_path):
    done = start("quantize-report", DEMO, *options, cwd=tmp_path)
    assert done.returncode == status and sentence in done.stderr and not list(tmp_path.iterdir())
