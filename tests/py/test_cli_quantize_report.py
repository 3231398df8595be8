"""quantize-report: errors of forms, mixes under budgets, exports of them, and reports that were interrupted."""
import json
import signal
import subprocess
import time

import pytest

from program import CLI, DATA, DEMO, fail, run, run_json, start

FEW = ("--calibration-samples", 8, "--calibration-length", 40)


def mean_error(report, recipe):
    chosen = {rule["pattern"]: rule["scheme"] for rule in recipe["tensors"]}
    errors = [{f["form"]: f["error"] for f in t["forms"]}[chosen.get(t["name"], recipe["default"])] for t in report["tensors"]]
    return sum(errors) / len(errors)


def test_errors_of_forms():
    report = run_json("quantize-report", DATA / "checkpoints" / "dream-tiny", *FEW)
    assert len(report["tensors"]) == 3 * 7 and "mix" not in report and report["rounding"] == "nearest"
    for tensor in report["tensors"]:
        errors = {f["form"]: f["error"] for f in tensor["forms"]}
        assert errors["none"] == 0 < errors["fp16"] < errors["int8-weight-only"] < errors["int8-dynamic"], tensor
        assert errors["int8-dynamic"] < errors["int8-static"] < errors["int4"] < 0.1, tensor
        assert ("int4-g32" in errors) == (tensor["shape"][1] % 32 == 0)
    text = run("quantize-report", DATA / "checkpoints" / "dream-tiny", *FEW)
    assert text.count("\n") == 21 and text.startswith("layers.0.q ") and "mix" not in text


def test_errors_are_of_the_rounding():
    def mean(rounding, form):
        report = run_json("quantize-report", DATA / "checkpoints" / "llada-tiny", "--rounding", rounding, *FEW)
        assert report["rounding"] == rounding
        errors = [f["error"] for t in report["tensors"] for f in t["forms"] if f["form"] == form]
        return sum(errors) / len(errors) if errors else None
    int4 = {r: mean(r, "int4") for r in ("nearest", "mse", "gptq", "awq", "awq-gptq")}
    assert int4["gptq"] < int4["mse"] < int4["nearest"] and int4["awq-gptq"] < int4["awq"] < int4["nearest"]
    assert len(set(int4.values())) == 5
    assert mean("gptq", "fp16") == mean("nearest", "fp16") and mean("awq", "int8-static") is None
    assert "rounding 'best' is not known" in fail("quantize-report", DEMO, "--rounding", "best")


@pytest.mark.parametrize("rounding", ("mse", "gptq", "awq-gptq"))
def test_a_mix_is_exported_with_the_same_rounding(rounding, tmp_path):
    recipe, path = tmp_path / "mix.json", tmp_path / "m.pte"
    model = DATA / "checkpoints" / "sdar-tiny"
    report = run_json("quantize-report", model, "--rounding", rounding, "--size", "230k", "--output", recipe, *FEW)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mix.json"]
    chosen = {report["mix"]["recipe"]["default"], *(r["scheme"] for r in report["mix"]["recipe"]["tensors"])}
    assert len(chosen) > 1 and not chosen & {"int8-weight-only", "int8-static"}
    summary = run_json("export", model, path, "--quantization-config", recipe, "--rounding", rounding,
                       *(FEW if rounding != "mse" else ()))
    assert sum(l["bytes"] for l in summary["linears"]) - summary["parts"]["head"] == report["mix"]["bytes"] <= 230_000


@pytest.mark.parametrize("rounding", ("gptq", "awq"))
def test_a_mix_of_floats_is_exported_with_the_same_rounding(rounding, tmp_path):
    recipe, path, model = tmp_path / "mix.json", tmp_path / "m.pte", DATA / "checkpoints" / "sdar-tiny"
    mix = run_json("quantize-report", model, "--rounding", rounding, "--error", "1e-12", "--output", recipe, *FEW)["mix"]
    assert {mix["recipe"]["default"], *(r["scheme"] for r in mix["recipe"]["tensors"])} <= {"none", "fp16", "bf16"}
    export = start("export", model, path, "--quantization-config", recipe, "--rounding", rounding, *FEW, "--json")
    assert export.returncode == 0 and f"rounding {rounding} has nothing to do" in export.stderr, export.stderr
    summary = json.loads(export.stdout)
    assert sum(l["bytes"] for l in summary["linears"]) - summary["parts"]["head"] == mix["bytes"]
    assert "nothing to do" in fail("export", model, path, "--quantization", "none", "--rounding", rounding)


def test_an_interrupted_report_goes_on(tmp_path):
    what = ("quantize-report", DEMO, "--rounding", "gptq", "--calibration-samples", 16, "--calibration-length", 48)
    whole = run_json(*what, "--size", "2M")
    work = tmp_path / "mix.json.work"
    report = subprocess.Popen([CLI, *map(str, what), "--size", "2M", "--output", str(tmp_path / "mix.json")],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (work / "hidden.safetensors").is_file():
        assert report.poll() is None
        time.sleep(0.005)
    report.send_signal(signal.SIGINT)
    error = report.communicate(timeout=60)[1]
    assert report.returncode == 130 and "goes on from there" in error, error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mix.json.work"]
    # What was measured is not measured again: a mark in it comes out.
    measured = json.loads((work / "report.json").read_text())
    layers = len(measured) // 7
    assert 0 < layers < len(whole["tensors"]) // 7 and measured == whole["tensors"][:7 * layers]
    measured[0]["forms"][1]["bytes"] += 1
    (work / "report.json").write_text(json.dumps(measured))
    mended = run_json(*what, "--error", "0.5", "--work-folder", work)
    assert mended["tensors"][0]["forms"][1]["bytes"] == whole["tensors"][0]["forms"][1]["bytes"] + 1
    mended["tensors"][0]["forms"][1]["bytes"] -= 1
    assert mended["tensors"] == whole["tensors"]
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_of_another_report_is_begun_anew(tmp_path):
    import diffulex_edge
    work, few = tmp_path / "work", {"count": 8, "length": 40}
    model, seen = DATA / "checkpoints" / "dream-tiny", []

    def stop(name, done, total):
        seen.append((name, done, total))
        return name != "measuring" or done < total // 2
    whole = diffulex_edge.quantize_report(model, rounding="gptq", **few)
    for rounding in ("gptq", "nearest"):
        seen.clear()
        with pytest.raises(diffulex_edge.Cancelled, match="goes on from there"):
            diffulex_edge.quantize_report(model, rounding=rounding, work_folder=work, stage=stop, **few)
        assert seen[-1][1] * 2 >= seen[-1][2] > 0 and (work / "report.json").is_file()
    assert diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, **few) == whole
    assert not work.exists()
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, stage=stop, **few)
    (work / "report.json").write_text("[]")
    with pytest.raises(diffulex_edge.FormatError, match="remove the folder"):
        diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, **few)


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
    for form in {f["form"] for t in report["tensors"] for f in t["forms"]} - {"int8-weight-only", "int8-static"}:
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
    (("--size", "2M", "--error", "1"), 2, "cannot be combined"), (("--output", "x"), 2, "--output is for the mix"),
    (("--size", "much"), 2, "--size takes bytes"), (("--error", "0"), 2, "--error takes a number above 0"),
    (("--size", "10k", *FEW), 1, "are too few for 42 tensors"),
])
def test_what_is_refused(options, status, sentence, tmp_path):
    done = start("quantize-report", DEMO, *options, cwd=tmp_path)
    assert done.returncode == status and sentence in done.stderr and not list(tmp_path.iterdir())
