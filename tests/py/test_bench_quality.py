"""bench/quality.py: how thresholds are chosen, that results are kept and made again where they must be, and its tables."""
import json
import os
import subprocess
import sys

import pytest

from program import CLI, ROOT, run_json

BENCH = ROOT / "bench"
SCRIPT = BENCH / "quality.py"
sys.path.insert(0, str(BENCH))
import demo_items  # noqa: E402
import heldout  # noqa: E402
import quality  # noqa: E402

SHORT = ["--count", "8", "--tuning", "13", "--samples", "10", "--rounds", "3"]


def script(folder, *args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    return subprocess.run([sys.executable, SCRIPT, "--folder", folder, "--program", CLI, *map(str, args)],
                          capture_output=True, text=True, timeout=300, env=environment)


def test_mcnemar_goes_by_questions():
    assert heldout.paired([1, 2, 9], [2, 3, 4, 5, 6, 7, 9]) == {
        "only_first_right": 5, "only_this_right": 1, "p": 2 * 7 / 64}
    assert heldout.paired([], [])["p"] == 1


def test_the_lowest_threshold_that_is_as_good():
    right = {0.8: 90, 0.85: 93, 0.9: 95, 0.95: 94, 0.99: 96}
    asked = []

    def right_at(threshold):
        asked.append(threshold)
        return right[threshold]

    assert quality.choose(right_at, 93, right) == (0.85, True)
    assert asked == [0.8, 0.85]  # those above are not run
    assert quality.choose(right_at, 96, right) == (0.99, True)
    assert quality.choose(right_at, 97, right) == (0.99, False)
    right[0.9] = 96
    assert quality.choose(right_at, 97, right) == (0.9, False)  # of the best ones the lowest


def test_results_are_kept_and_made_again(tmp_path):
    made = []

    def make():
        made.append(len(made))
        return {"value": made[-1]}

    results = quality.Results(tmp_path / "model.json")
    row = results.row("int4")
    assert results.part(row, "logits", "a", make) == {"value": 0, "of": "a"}
    again = quality.Results(tmp_path / "model.json")  # another run
    row = again.row("int4")
    assert again.part(row, "logits", "a", make)["value"] == 0 and made == [0]
    assert again.part(row, "logits", "b", make)["value"] == 1  # made of something else
    assert json.loads((tmp_path / "model.json").read_text()) == {"int4": {"logits": {"value": 1, "of": "b"}}}


@pytest.mark.parametrize("model", quality.MODELS)
def test_questions_for_thresholds_are_others(model, tmp_path):
    file = quality.MODELS[model]["folder"] / "eval" / "heldout.jsonl"
    held = {demo_items.prompt_of(json.loads(line)) for line in file.read_text().splitlines()}
    for seed, heldout_side in ((5000, True), (7000, False)):
        demo_items.write(tmp_path / "new.jsonl", model, file, seed, 60, heldout_side)
        new = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
        prompts = {demo_items.prompt_of(item) for item in new}
        assert len(new) == len(prompts) == 60 and not prompts & held
        assert all(item["answer"] for item in new)


def test_the_generators_still_make_the_held_out_files():
    from dialog import tasks
    from sudoku6 import data
    dialogues = [json.loads(line) for line in (ROOT / "demo/dialog-sdar/eval/heldout.jsonl").read_text().splitlines()]
    assert tasks.questions() == dialogues
    puzzles = [json.loads(line) for line in (ROOT / "demo/sudoku6-llada/eval/heldout.jsonl").read_text().splitlines()]
    assert [data.INSTRUCTION + data.to_text(puzzle) for puzzle in data.questions()[0]] == [p["prompt"] for p in puzzles]


def test_a_short_run(tmp_path):
    recipes = ["--recipes", "int4-g128;int4-g32, gptq"]
    done = script(tmp_path, "--models", "dialog-sdar", *recipes, *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["dialog-sdar"]
    assert list(rows) == ["none", "int4-g128", "int4-g32, gptq"] and "does not fit" in rows["int4-g128"]["file"]["refused"]
    file = tmp_path / "dialog-sdar-int4-g32-gptq.pte"
    held = ROOT / "demo/dialog-sdar/eval/heldout.jsonl"
    for key, options in (("exact", ["--preset", "exact"]), ("0.9", ["--preset", "balanced", "--threshold", "0.9"])):
        found, alone = rows["int4-g32, gptq"]["on heldout"][key], run_json("eval", file, held, "--count", 8, *options)
        assert {k: found[k] for k in ("questions", "right", "passes", "wrong")} == {
            k: alone[k] for k in ("questions", "right", "passes", "wrong")}
    tuned, curve = rows["int4-g32, gptq"]["tuned"], rows["int4-g32, gptq"]["on dialog-sdar-tuning-13"]
    wanted = rows["none"]["on dialog-sdar-tuning-13"]["0.9"]["right"]
    assert tuned["balanced"]["reached"] == (curve[str(tuned["balanced"]["threshold"])]["right"] >= wanted)
    assert rows["none"]["tuned"]["fast"]["threshold"] == 0.85
    assert rows["int4-g32, gptq"]["times"]["over_base"] > 0 and rows["none"]["times"]["over_base"] == 1
    assert rows["int4-g32, gptq"]["logits"]["kl_mean"] > rows["none"]["logits"]["kl_mean"] >= 0
    # Again: nothing is run that is there, so a program that only exports in vain changes nothing.
    times = {name: os.stat(tmp_path / name).st_mtime_ns for name in os.listdir(tmp_path)}
    done = script(tmp_path, "--models", "dialog-sdar", *recipes, *SHORT, "--only", "files,logits,answers")
    assert done.returncode == 0, done.stderr
    assert {name: os.stat(tmp_path / name).st_mtime_ns for name in os.listdir(tmp_path)} == times
    lines = [line for line in done.stdout.splitlines() if line.startswith("| `")]
    assert [line.split(" | ")[0] for line in lines] == ["| `none`", "| `int4-g128`", "| `int4-g32, gptq`", "| `none`", "| `int4-g32, gptq`"]
    assert "8 held-out questions" in done.stdout and "float32 takes" in done.stdout


def test_an_untrained_checkpoint_and_mistakes(tmp_path):
    done = script(tmp_path, "--models", "sdar-tiny", "--recipes", "int8-dynamic", "--samples", 10, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert list(rows) == ["sdar-tiny"] and rows["sdar-tiny"]["int8-dynamic"]["logits"]["kl_mean"] > 0
    assert "times" not in rows["sdar-tiny"]["none"]
    assert "'int5' is none of" in script(tmp_path, "--recipes", "int5").stderr
    assert "'time' is none of" in script(tmp_path, "--only", "time").stderr
