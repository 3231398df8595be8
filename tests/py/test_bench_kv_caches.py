"""bench/kv_caches.py: its numbers are those of `diffulex-edge eval`, and what it compares."""
import json
import os
import subprocess
import sys

import pytest

from program import DEMO, ROOT, export, run_json

SCRIPT = ROOT / "bench" / "kv_caches.py"
HELDOUT = DEMO / "eval" / "heldout.jsonl"
sys.path.insert(0, str(SCRIPT.parent))
import heldout  # noqa: E402
import kv_caches  # noqa: E402


def script(*args):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "python"), os.environ.get("PYTHONPATH"))))}
    return subprocess.run([sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def sudoku(tmp_path_factory):
    return export(DEMO, tmp_path_factory.mktemp("caches") / "sudoku.pte", "int8-dynamic")


def test_numbers_are_those_of_eval(sudoku):
    done = script(sudoku, HELDOUT, "--count", 6, "--json", "--", "preset=fast", "max_new_tokens=48", "block_length=24")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["caches"]
    assert list(rows) == ["float32", "float16", "int8"]
    for kv_type, row in rows.items():
        alone = run_json("eval", sudoku, HELDOUT, "--count", 6, "--preset", "fast", "--max-new-tokens", 48,
                         "--block-length", 24, "--kv-cache", kv_type)
        assert (row["right"], row["passes"]) == (alone["right"], alone["passes"])
        assert row["kv_cache"] == run_json("inspect", sudoku, "--kv-cache", kv_type)["memory"]["kv_cache"]
    assert rows["float32"]["other_tokens"] == 0 and rows["float32"]["p"] == 1


def test_table_and_mistakes(sudoku):
    done = script(sudoku, HELDOUT, "--count", 1, "--caches", "float32,int8", "--", "max_new_tokens=48", "steps=4")
    assert done.returncode == 0, done.stderr
    assert "1 questions, max_new_tokens=48 steps=4" in done.stdout
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[3:]] == ["| float32", "| int8"]
    assert "is no decode option" in script(sudoku, HELDOUT, "--", "steps").stderr


def test_comparison():
    base = [(True, [1], 2), (True, [2], 2), (False, [3], 2), (False, [4], 2)]
    other = [(True, [1], 2), (False, [5], 3), (False, [6], 2), (True, [7], 1)]
    row = kv_caches.compare(base, other)
    assert row == {"right": 2, "passes": 8, "other_tokens": 3, "only_first_right": 1, "only_this_right": 1, "p": 1.0}
    assert heldout.mcnemar(0, 5) == heldout.mcnemar(5, 0) == 2 / 32 and heldout.mcnemar(0, 0) == 1
    assert heldout.mcnemar(1, 3) == 2 * 5 / 16
