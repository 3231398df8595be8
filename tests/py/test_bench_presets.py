"""bench/presets.py: the table of presets, on the demo model and on one with a chat template."""
import json
import subprocess
import sys

import pytest

from program import CLI, DATA, DEMO, ROOT, export, run_json

SCRIPT = ROOT / "bench" / "presets.py"
HELDOUT = DEMO / "eval" / "heldout.jsonl"
WHOLE = ["--max-new-tokens", "48", "--block-length", "48"]


def presets(*args):
    return subprocess.run([sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def sudoku(tmp_path_factory):
    return export(DEMO, tmp_path_factory.mktemp("presets") / "sudoku.pte", "int8-dynamic")


def test_table_of_the_demo(sudoku):
    done = presets(sudoku, HELDOUT, "--program", CLI, "--count", 2, "--rounds", 2, "--threads", 1, "--", *WHOLE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [row[0] for row in rows] == ["preset", "---", "none", "exact", "balanced", "fast"]
    exact, fast = rows[3], rows[5]
    assert exact[1] == "100.0 %" and 24 < float(exact[2]) <= 48 and float(fast[2]) < 12
    assert float(fast[3]) > float(exact[3]) and all(float(row[4]) > 0 for row in rows[2:])
    assert "2 questions" in done.stdout and "2 rounds" in done.stdout and "--block-length 48" in done.stdout
    kernels = run_json("eval", sudoku, HELDOUT, "--count", 1, *WHOLE)["kernels"]
    assert lines[-1].endswith(f"kernels {kernels}, 1 threads")
    assert done.stderr.splitlines()[:5] == [f"round 1 of 2: {p}" for p in ("none", "exact", "balanced", "fast")] + [
        "round 2 of 2: none"]  # in turn


def test_numbers_are_those_of_eval(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "repeat: dog"}], "answer": "dog"}) + "\n")
    model = export(DATA / "checkpoints" / "sdar-tiny", tmp_path / "sdar.pte")
    done = presets(model, file, "--program", CLI, "--rounds", 1, "--presets", "balanced", "--json", "--",
                   "--max-new-tokens", 16)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["presets"]
    alone = run_json("eval", model, file, "--preset", "balanced", "--max-new-tokens", 16)
    assert list(rows) == ["balanced"]
    assert rows["balanced"]["passes_per_answer"] == alone["passes"]
    assert rows["balanced"]["tokens_per_pass"] == alone["tokens_per_pass"]
    assert rows["balanced"]["accuracy"] == alone["accuracy"]


def test_what_is_wrong_is_said(sudoku):
    done = presets(sudoku, HELDOUT, "--program", CLI, "--count", 1, "--", "--strategy", "sequential")
    assert done.returncode == 1 and "presets.py: none: diffulex-edge: question 1: option 'strategy'" in done.stderr
    assert presets(sudoku, HELDOUT, "--presets", "exact,slow").returncode == 2
