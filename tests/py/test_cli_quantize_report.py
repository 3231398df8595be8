"""quantize-report: errors of forms, mixes under budgets, exports of them, and reports that were interrupted."""
import json
import shutil
import signal
import subprocess
import time

import pytest

import diffulex_edge
from program import CLI, DATA, DEMO, fail, run, run_json, start

FEW = ("--calibration-samples", 8, "--calibration-length", 40)


def results_in(work):
    """What a report has in its work folder."""
    data = (work / "hidden.safetensors").read_bytes()
    n = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:8 + n])["results"]["data_offsets"]
    return json.loads(data[8 + n + begin:8 + n + end])


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


@pytest.mark.parametrize("model, layers, partly", (("dream-tiny", 3, ()), ("sdar-tiny", 2, ("int4-g128",))))
def test_text_has_bytes_and_totals(model, layers, partly):
    tensors = run_json("quantize-report", DATA / "checkpoints" / model, *FEW)["tensors"]
    lines, n = run("quantize-report", DATA / "checkpoints" / model, *FEW).splitlines(), 7 * layers
    of = [{f["form"]: f for f in t["forms"]} for t in tensors]
    assert lines[0].startswith("layers.0.q ") and lines[n] == f"all {n} weights in one form: bytes, mean error"
    assert f"int4 {of[0]['int4']['error']:.2e} ({of[0]['int4']['bytes']})" in lines[0]
    said = {line.split()[0]: line.split() for line in lines[n + 1:]}
    assert set(said) == set().union(*of) and set(partly) <= set(said)
    for name, words in said.items():
        chosen, unfit = [forms.get(name, forms["none"]) for forms in of], sum(name not in forms for forms in of)
        assert int(words[1]) == sum(f["bytes"] for f in chosen)
        assert words[2] == f"{sum(f['error'] for f in chosen) / n:.2e}"
        assert words[3:] == ([str(unfit), *"do not fit and stay float32".split()] if unfit else [])
        assert (unfit > 0) == (name in partly)


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
    # What was measured is not measured again.
    measured, seen = results_in(work), []
    layers = len(measured) // 7
    assert 0 < layers < len(whole["tensors"]) // 7 and measured == whole["tensors"][:7 * layers]
    mended = diffulex_edge.quantize_report(DEMO, rounding="gptq", count=16, length=48, max_error=0.5, work_folder=work,
                                           stage=lambda name, done, total: seen.append((name, done, total)))
    assert mended["tensors"] == whole["tensors"]
    assert seen and all(name != "measuring" or done > layers * total * 7 // len(whole["tensors"]) for name, done, total in seen)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny"))
def test_a_budget_that_no_form_meets_is_refused_before_anything_is_measured(model, tmp_path):
    """The shapes alone say so; and the sentence's number is one that is met."""
    stages, model = [], DATA / "checkpoints" / model

    def report(**budget):
        return diffulex_edge.quantize_report(model, count=8, length=40, stage=lambda *stage: stages.append(stage), **budget)
    with pytest.raises(diffulex_edge.LimitError, match="1000 bytes are too few for") as refused:
        report(max_bytes=1000, recipe_path=tmp_path / "mix.json")
    assert stages == [] and list(tmp_path.iterdir()) == []
    least = int(str(refused.value).split()[-1])
    assert report(max_bytes=least)["mix"]["bytes"] == least and stages
    with pytest.raises(diffulex_edge.LimitError, match="too few"):
        report(max_bytes=least - 1)


def test_what_was_measured_survives_a_failure_behind_it(tmp_path):
    model, few, mix, work = DATA / "checkpoints" / "sdar-tiny", {"count": 8, "length": 40}, tmp_path / "to" / "mix.json", tmp_path / "w"
    mix.parent.mkdir()

    def take_the_place_away(name, done, total):
        if total and done == total:
            shutil.rmtree(mix.parent)
    with pytest.raises(OSError, match=r"mix.json'.*; what was measured is in '.*/w': the same report goes on"):
        diffulex_edge.quantize_report(model, max_error=0.01, recipe_path=mix, rounding="awq", work_folder=work,
                                      stage=take_the_place_away, **few)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w"]
    mix.parent.mkdir()
    stages = []
    report = diffulex_edge.quantize_report(model, max_error=0.02, recipe_path=mix, rounding="awq", work_folder=work,
                                           stage=lambda *stage: stages.append(stage), **few)
    assert report["mix"]["error"] <= 0.02 and not [s for s in stages if s[0] == "measuring"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["to"] and mix.is_file()


def test_a_work_folder_of_another_report_is_begun_anew(tmp_path):
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
        assert seen[-1][1] * 2 >= seen[-1][2] > 0 and len(results_in(work)) == 7
    notices = []
    assert diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, notice=notices.append, **few) == whole
    assert len(notices) == 1 and "holds 1 layer of another run" in notices[0]
    assert not work.exists()
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, stage=stop, **few)
    hidden = work / "hidden.safetensors"
    hidden.write_bytes(hidden.read_bytes().replace(b'"int8-dynamic"', b'"int8-Dynamic"', 1))
    with pytest.warns(UserWarning, match="is not as it was written"):
        assert diffulex_edge.quantize_report(model, rounding="gptq", work_folder=work, **few) == whole


def test_a_damaged_folder_is_noticed_on_the_command_line(tmp_path):
    work, what = tmp_path / "work", ("quantize-report", DATA / "checkpoints" / "dream-tiny", *FEW)
    work.mkdir()
    (work / "hidden.safetensors").write_bytes(b"half")
    done = start(*what, "--work-folder", work)
    assert done.returncode == 0 and done.stdout == run(*what)
    assert f"diffulex-edge: note: 'hidden.safetensors' in the work folder '{work}' is not as it was written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_measured_nothing_leaves_no_folder(tmp_path):
    for folder in ("new", "there"):
        work = tmp_path / folder
        if folder == "there":
            work.mkdir()
        with pytest.raises(diffulex_edge.Cancelled) as cancelled:
            diffulex_edge.quantize_report(DATA / "checkpoints" / "dream-tiny", count=8, length=40, work_folder=work,
                                          stage=lambda name, *_: name != "measuring")
        assert str(cancelled.value).endswith("was cancelled; no layer was done, so nothing was kept") and not work.exists()
    with pytest.raises(diffulex_edge.Cancelled, match="nothing was kept, as there was neither a work folder nor an output"):
        diffulex_edge.quantize_report(DATA / "checkpoints" / "dream-tiny", count=8, length=40, stage=lambda *_: False)


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
            assert mix["error"] <= sum(f["error"] for f in rows) / len(rows) + 1e-9, form


def forms_of(recipe):
    return {recipe["default"], *(rule["scheme"] for rule in recipe["tensors"])}


@pytest.mark.parametrize("budget", (("--size", "800M"), ("--size", 2_500_000), ("--error", "1e-9")))
def test_what_costs_nothing_is_float16(budget):
    """This checkpoint is bfloat16, of which float16 keeps all but some 1e-17."""
    mix = run_json("quantize-report", DEMO, *budget, *FEW)["mix"]
    assert forms_of(mix["recipe"]) == {"fp16", "int8-dynamic"} if 2_500_000 in budget else {"fp16"}
    assert 2_500_000 in budget or (0 < mix["error"] < 1e-9 and not mix["recipe"]["tensors"])


@pytest.fixture(scope="module")
def unfit_for_float16(tmp_path_factory):
    """sdar-tiny, which is bfloat16, with a number beyond float16 in layers.1.down, and layers.0.up below its normal ones."""
    folder = tmp_path_factory.mktemp("unfit") / "sdar"
    shutil.copytree(DATA / "checkpoints" / "sdar-tiny", folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    n = int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8:8 + n])
    begin = 8 + n + tensors["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
    data[begin:begin + 2] = (0x47C3).to_bytes(2, "little")
    begin, end = (8 + n + at for at in tensors["model.layers.0.mlp.up_proj.weight"]["data_offsets"])
    for at in range(begin, end, 2):
        bits = int.from_bytes(data[at:at + 2], "little")
        data[at:at + 2] = (bits - (20 << 7) if bits & 0x7F80 > 20 << 7 else 0).to_bytes(2, "little")
    (folder / "model.safetensors").write_bytes(data)
    return folder


def test_bfloat16_is_for_what_float16_does_not_keep(unfit_for_float16):
    report = run_json("quantize-report", unfit_for_float16, "--size", "800M", *FEW)
    assert {t["name"] for t in report["tensors"] if "fp16" not in [f["form"] for f in t["forms"]]} == {"layers.1.down"}
    recipe = report["mix"]["recipe"]
    assert recipe["default"] == "fp16"
    assert recipe["tensors"] == [{"pattern": name, "scheme": "bf16"} for name in ("layers.0.up", "layers.1.down")]
    assert "holds the numbers of 'layers.1.down'" in fail("quantize-report", unfit_for_float16, "--size", "800M", "--forms",
                                                          "fp16", *FEW)


@pytest.mark.parametrize("forms, size, chosen", (
    ("int8-dynamic,int4-g32", 230_000, {"int8-dynamic", "int4-g32"}), ("INT8_weight_only, FP16", 400_000, {"int8-weight-only", "fp16"}),
    ("bf16", 900_000, {"bf16"}), ("int8-static,bf16", 400_000, {"int8-static", "bf16"}),
))
def test_a_mix_has_the_forms_that_it_may_choose(forms, size, chosen, tmp_path):
    model, mix = DATA / "checkpoints" / "sdar-tiny", tmp_path / "mix.json"
    report = run_json("quantize-report", model, "--size", size, "--forms", forms, "--output", mix, *FEW)
    assert forms_of(report["mix"]["recipe"]) == chosen and report["mix"]["bytes"] <= size
    assert report["mix"]["error"] == pytest.approx(mean_error(report, report["mix"]["recipe"]))
    for words in (forms, forms.split(",")):
        assert diffulex_edge.quantize_report(model, max_bytes=size, forms=words, count=8, length=40) == report


@pytest.mark.parametrize("size, bytes_", (("10K", 10000), ("10kB", 10000), ("0.01m", 10000), ("0.01 MB", 10000), ("0.00001g", 10000), ("0.00007M", 70),
                                          ("10KiB", 10240), ("0.25mib", 262144), ("10000", 10000)))
def test_sizes_as_people_write_them(size, bytes_):
    assert fail("quantize-report", DEMO, "--size", size).startswith(f"{bytes_} bytes are too few for 42 tensors")


def test_python_says_the_same(tmp_path):
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
    *((("--size", size), 2, f"as 800000000, 800M, 0.8GB or 800MiB, not '{size}'") for size in ("1B", "1Ki", "1MBs", "K", "-1K")),
    (("--forms", "fp16"), 2, "--forms is for the mix under --size or --error"),
    (("--size", "2M", "--forms", "fp16,,bf16"), 1, "quantize-report's forms: there is no form ''; there are: none, fp16, bf16, "),
    (("--size", "2M", "--forms", "fp61"), 1, "there is no form 'fp61'"),
    (("--size", "2M", "--forms", "fp16,int8-static", "--rounding", "awq"), 1, "rounding awq has no int8-static for a mix"),
    (("--size", "2M", "--forms", "int4-g128"), 1, "none of the forms that may be chosen fits 'layers.0."),
])
def test_what_is_refused(options, status, sentence, tmp_path):
    done = start("quantize-report", DEMO, *options, cwd=tmp_path)
    assert done.returncode == status and sentence in done.stderr and not list(tmp_path.iterdir())
