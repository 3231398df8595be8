"""Weights found by calibration: files of that kind in the official runtime, the program's and the package's options, and an
interrupt while layers are solved."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from oracles import oracle

oracle("executorch.runtime", "agreement with the official runtime is")

import diffulex_edge  # noqa: E402
from program import CLI, DATA, DEMO, fail, run, run_json, start  # noqa: E402
from pte_blobs import named_data  # noqa: E402
from test_quantised_files import agree, logits_of_both  # noqa: E402


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def lines(tmp_path):
    return write_lines(tmp_path / "chats.jsonl", [
        {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good morning to you all"}]},
        {"prompt": "2+2=", "answer": "4, of course"}, {"text": "It was a bright cold day in April"}, {"ids": list(range(40))}])


@pytest.mark.parametrize("model, scheme", [("llada-tiny", "int4-g32"), ("dream-tiny", "int4"), ("sdar-tiny", "int4-g64"),
                                           ("fast_dllm_v2-tiny", "int8-dynamic"), ("sdar-tiny", "int8-weight-only")])
def test_the_official_runtime_agrees(model, scheme, lines, tmp_path):
    stages = []
    files = {}
    for rounding in ("nearest", "gptq"):
        files[rounding] = tmp_path / f"{rounding}.pte"
        done = diffulex_edge.export_checkpoint(
            DATA / "checkpoints" / model, files[rounding], max_seq_len=128, quantization=scheme, rounding=rounding,
            calibration=lines if rounding == "gptq" else None,
            stage=lambda name, done, total: stages.append((name, done, total)))
        assert done.quantization == scheme
    assert {name for name, _, _ in stages} == {"gptq"} and stages[-1][1] == stages[-1][2]
    assert [done for _, done, _ in stages] == sorted({done for _, done, _ in stages})
    nearest, solved = named_data(files["nearest"]), named_data(files["gptq"])
    assert {k: len(v) for k, v in nearest.items()} == {k: len(v) for k, v in solved.items()}
    changed = {k for k in nearest if nearest[k] != solved[k]}
    assert changed and all(k.startswith("layers.") and ".weight" in k and "norm" not in k for k in changed)
    assert {k.split(".")[2] for k in changed} == {"q", "k", "v", "o", "gate", "up", "down"}
    case = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"][0]
    stock, native = logits_of_both(files["gptq"], case, tmp_path)
    agree(stock, native, scheme == "int8-weight-only")
    assert sorted(os.listdir(tmp_path)) == ["chats.jsonl", "gptq.pte", "l.safetensors", "nearest.pte"]


@pytest.mark.parametrize("rounding, model", [("mse", "llada-tiny"), ("awq", "llada-tiny"), ("awq-gptq", "dream-tiny"),
                                             ("awq-gptq", "sdar-tiny"), ("awq", "fast_dllm_v2-tiny")])
def test_scaled_and_clipped_files_are_plain_ones(rounding, model, lines, tmp_path):
    """The same tensors as with rounding to nearest; scales of inputs have gone into norms and neighbours."""
    path, nearest = tmp_path / "m.pte", tmp_path / "nearest.pte"
    data = {} if rounding == "mse" else {"calibration": lines}
    for file, keywords in ((path, {"rounding": rounding, **data}), (nearest, {})):
        diffulex_edge.export_checkpoint(DATA / "checkpoints" / model, file, max_seq_len=128, quantization="int4", **keywords)
    before, after = named_data(nearest), named_data(path)
    assert {k: len(v) for k, v in before.items()} == {k: len(v) for k, v in after.items()}
    changed = {k for k in before if before[k] != after[k]}
    assert any("attn_norm" in k for k in changed) == any("mlp_norm" in k for k in changed) == (rounding != "mse")
    assert not any("q_norm" in k or "q.bias" in k for k in changed)
    assert any("v.bias" in k for k in changed) == (rounding != "mse" and any("v.bias" in k for k in before))
    case = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"][0]
    stock, native = logits_of_both(path, case, tmp_path)
    agree(stock, native, False)


@pytest.mark.parametrize("rounding, model", [("gptq", "llada-tiny"), ("awq", "fast_dllm_v2-tiny"), ("awq-gptq", "sdar-tiny")])
def test_all_methods_have_the_weights_that_were_found(rounding, model, lines, tmp_path):
    """Norms that scales went into, too: nothing is there for a single method, and each answers as a file of its own."""
    one, more = tmp_path / "one.pte", tmp_path / "more.pte"
    options = ("--quantization", "int4", "--rounding", rounding, "--calibration", lines, "--calibration-samples", 8)
    validation = ("--validation-samples", 4, "--validation-length", 24)
    figures = [run_json("export", DATA / "checkpoints" / model, path, *options, *rows, "--validate", *validation)["validation"]
               for path, rows in ((one, ()), (more, ("--method-rows", "32,8")))]
    assert figures[0] == figures[1]
    assert run_json("export", DATA / "checkpoints" / model, more, "--validate-only", "--validation", lines, *validation)[
        "validation"]["layer_errors"] == figures[0]["layer_errors"]
    before, after = named_data(one), named_data(more)
    assert all(after[name] == data for name, data in before.items())
    assert not any("@" in name and ".weight" in name or "@" in name and ".bias" in name for name in after), sorted(after)
    case = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"][0]
    stock, native = logits_of_both(more, case, tmp_path)
    agree(stock, native, False)


def test_scales_make_one_grid_do_for_all_rows(tmp_path):
    """A trained model has inputs of `down` that are far larger than others, and a grid that has to reach them."""
    questions = DEMO / "eval" / "heldout.jsonl"
    how = ("--quantization", "int8-static", "--calibration", questions, "--calibration-samples", 12, "--validate",
           "--validation-samples", 6)
    plain, scaled = (run_json("export", DEMO, tmp_path / "m.pte", *how, *more)["validation"]["layer_errors"]
                     for more in (("--rounding", "nearest"), ()))
    assert sum(scaled) < 0.7 * sum(plain), (plain, scaled)
    ranges = tmp_path / "r.json"
    ranges.write_bytes(named_data(tmp_path / "m.pte")["dlx.ranges"])
    assert json.loads(ranges.read_text())["observer"] == "minmax"
    assert "has ranges of scaled inputs" in fail("export", DEMO, tmp_path / "n.pte", "--quantization", "int8-static", "--ranges", ranges)


def test_presets_know_how_weights_were_made(lines, tmp_path):
    """4-bit weights that were rounded get surer thresholds; those that calibration found, and all others, do not."""
    made = {"none": (), "int8-dynamic": (), "int4": (), "int4-g32": ("--rounding", "gptq", "--calibration", lines)}
    for scheme, more in made.items():
        file = tmp_path / "m.pte"
        run("export", DATA / "checkpoints" / "sdar-tiny", file, "--quantization", scheme, *more)
        metadata = diffulex_edge.inspect(file)["metadata"]
        assert metadata["get_rounded_bits"] == [0 if more else 32 if scheme == "none" else int(scheme[3])]
        with diffulex_edge.Model(file) as model:
            facts = model.facts
        assert [facts.rounded_bits] == metadata["get_rounded_bits"]
        assert diffulex_edge.ModelFacts.from_metadata(metadata) == facts
        assert diffulex_edge.ModelFacts.from_native(facts.to_native()) == facts
        for preset, usual, rounded in (("balanced", 0.9, 0.96), ("fast", 0.85, 0.9)):
            out = run_json("generate", file, "--prompt", "a", "--max-new-tokens", 8, "--preset", preset)
            assert out["threshold"] == (rounded if scheme == "int4" else usual)
    out = run_json("generate", file, "--prompt", "a", "--max-new-tokens", 8, "--algorithm", "ar.generate")
    assert out["threshold"] is None


def test_keywords_and_callbacks(lines, tmp_path):
    def export(**keywords):
        return diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte", max_seq_len=64,
                                               quantization="int4-g32", **{"rounding": "gptq", **keywords})

    def broken(name, done, total):
        raise KeyError(name)

    with pytest.raises(KeyError, match="gptq"):
        export(calibration=lines, stage=broken)
    with pytest.raises(diffulex_edge.Cancelled, match="was left as it was$"):
        export(calibration=lines, stage=lambda *_: False)
    assert sorted(os.listdir(tmp_path)) == ["chats.jsonl"]
    with pytest.raises(diffulex_edge.Cancelled, match="goes on from there"):
        export(calibration=lines, stage=lambda name, done, total: 2 * done <= total, work_folder=tmp_path / "work")
    assert sorted(os.listdir(tmp_path)) == ["chats.jsonl", "work"]
    export(calibration=lines, work_folder=tmp_path / "work")
    assert sorted(os.listdir(tmp_path)) == ["chats.jsonl", "m.pte"]
    first = (tmp_path / "m.pte").read_bytes()
    export(calibration=lines)
    assert (tmp_path / "m.pte").read_bytes() == first
    for different in ({"calibration_samples": 7}, {"calibration_length": 20}, {"calibration_seed": 3}):
        export(calibration=lines, **different)
        assert (tmp_path / "m.pte").read_bytes() != first, different
    stages = []
    export(calibration_samples=4, calibration_length=24, stage=lambda *stage: stages.append(stage))
    assert [s[0] for s in stages] == sorted((s[0] for s in stages), reverse=True) and stages[0][2] == 0
    assert {s[0] for s in stages} == {"writing calibration texts", "gptq"}
    for wrong in ({"rounding": "best"}, {"calibration_length": 10**6, "calibration": lines}, {"rounding": "nearest",
                                                                                            "calibration": lines}):
        with pytest.raises(ValueError):
            export(**wrong)
    with pytest.raises(FileNotFoundError):
        export(calibration=tmp_path / "nowhere.jsonl")


def test_mistakes_on_the_command_line(tmp_path):
    checkpoint, path = DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte"
    assert fail("export", checkpoint, path, "--rounding", "best") == (
        "rounding 'best' is not known; expected one of: nearest, mse, gptq, awq, awq-gptq, smooth")
    assert "rounding gptq, awq, awq-gptq and smooth use it" in fail("export", checkpoint, path, "--calibration-seed", 4)
    bad = write_lines(tmp_path / "bad.jsonl", [{"question": "?"}])
    assert "bad.jsonl', line 1: it has none of" in fail("export", checkpoint, path, "--rounding", "gptq", "--calibration", bad)
    assert os.listdir(tmp_path) == ["bad.jsonl"]


def wait_for(there, process):
    end = time.monotonic() + 120
    while not there() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)


def test_an_interrupt_leaves_the_old_file_and_what_was_found(tmp_path):
    """Ctrl-C when a layer is done: status 130, one sentence, and the same command goes on."""
    path, work = tmp_path / "m.pte", tmp_path / "m.pte.work"
    questions = write_lines(tmp_path / "q.jsonl", [{"ids": [(7 * i * k) % 60 + 2 for i in range(100)]} for k in range(1, 30)])
    arguments = ("export", DEMO, path, "--quantization", "int4-g32", "--rounding", "gptq", "--calibration", questions,
                 "--calibration-samples", "128")
    run(*arguments)
    want = path.read_bytes()
    path.write_bytes(b"an older file")
    process = subprocess.Popen([CLI, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((work / "hidden.safetensors").exists, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and out == "", (out, err)
    assert err == (f"diffulex-edge: the export was cancelled; '{path}' was left as it was, and what was found so far is in "
                   f"'{work}': the same export goes on from there\n")
    assert path.read_bytes() == b"an older file"
    assert (work / "layer-00000.safetensors").exists()
    run(*arguments)
    assert path.read_bytes() == want
    assert sorted(os.listdir(tmp_path)) == ["m.pte", "q.jsonl"]


def test_a_killed_export_goes_on(tmp_path):
    path, work = tmp_path / "m.pte", tmp_path / "m.pte.work"
    questions = write_lines(tmp_path / "q.jsonl", [{"ids": [(7 * i * k) % 60 + 2 for i in range(100)]} for k in range(1, 30)])
    arguments = ("export", DEMO, path, "--quantization", "int4-g32", "--rounding", "gptq", "--calibration", questions,
                 "--calibration-samples", "64")
    run(*arguments)
    want = path.read_bytes()
    path.write_bytes(b"an older file")
    process = subprocess.Popen([CLI, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((work / "hidden.safetensors").exists, process)
    process.kill()
    process.wait()
    assert path.read_bytes() == b"an older file" and work.is_dir()
    done = start(*arguments)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == want
    assert sorted(os.listdir(tmp_path)) == ["m.pte", "q.jsonl"]


def test_validating_from_python(lines, tmp_path):
    checkpoint, path = DATA / "checkpoints" / "llada-tiny", tmp_path / "m.pte"
    diffulex_edge.export_checkpoint(checkpoint, path, max_seq_len=64, quantization="int4-g32")
    keywords = {"samples": lines, "count": 6, "length": 40, "seed": 1}  # the program's seed
    stages = []
    found = diffulex_edge.validate_export(checkpoint, path, stage=lambda *stage: stages.append(stage), **keywords)
    said = json.loads(run("export", checkpoint, path, "--validate-only", "--validation", lines, "--validation-samples", 6,
                          "--validation-length", 40, "--json"))["validation"]
    assert (found.samples, found.rows, found.worst_layer) == (6, said["rows"], said["worst_layer"])
    assert found.layer_errors == pytest.approx(said["layer_errors"], rel=1e-5)
    assert (found.kl_mean, found.kl_most) == pytest.approx((said["kl_mean"], said["kl_most"]), rel=1e-5)
    assert found.agreement == pytest.approx(said["agreement"], rel=1e-5)
    assert {name for name, _, _ in stages} == {"validating"} and stages[-1][1] == stages[-1][2]
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.validate_export(checkpoint, path, stage=lambda *_: False, **keywords)
    with pytest.raises(ValueError, match="validation_samples is -1"):
        diffulex_edge.validate_export(checkpoint, path, count=-1)


def test_an_export_that_fails_says_what_it_leaves(tmp_path, lines):
    """A weight of the second layer is no number: the first one's are found by then."""
    checkpoint, path = tmp_path / "checkpoint", tmp_path / "m.pte"
    shutil.copytree(DATA / "checkpoints" / "dream-tiny", checkpoint)
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(weights[:8], "little")
    begin = header + json.loads(weights[8:header])["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0]
    weights[begin:begin + 4] = b"\x00\x00\xc0\x7f"
    (checkpoint / "model.safetensors").write_bytes(weights)
    done = start("export", checkpoint, path, "--quantization", "int4", "--rounding", "gptq", "--calibration", lines,
                 "--calibration-samples", "4")
    assert done.returncode == 1 and not path.exists()
    assert f"note: what was found until then is in '{path}.work': the same export goes on from there" in done.stderr
    assert (tmp_path / "m.pte.work").is_dir()
