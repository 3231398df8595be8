"""bench/sizing.py: the rows that it prints are what inspect says, and a table that says something else is noticed."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from program import CLI, ROOT

BUILD = Path(CLI).resolve().parent.parent
spec = importlib.util.spec_from_file_location("sizing", ROOT / "bench" / "sizing.py")
sizing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sizing)

pytestmark = pytest.mark.skipif(not (BUILD / "tools" / "make_checkpoint").exists(), reason="needs the build's tools")


@pytest.fixture(scope="module")
def tiny():
    return sizing.measure("tiny", BUILD)


def test_sizes_follow_the_bounds(tiny):
    one = tiny["float32", 32, 512]
    assert tiny["float32", 32, 2048]["kv_cache"] == 4 * one["kv_cache"] == 8 * tiny["float16", 32, 512]["kv_cache"]
    # 2 layers of 2 heads of 32 numbers, keys and values, 4 bytes
    assert one["kv_cache"] == 512 * 2 * 2 * 64 * 4
    # a byte each, and two for the scale of a head
    assert tiny["int8", 32, 512]["kv_cache"] == 512 * 2 * 2 * 2 * (32 + 2)
    assert tiny["float32", 8, 512]["activations"] < one["activations"] < tiny["float32", 256, 512]["activations"]
    assert all(m["packed"] == one["packed"] for key, m in tiny.items() if key != "file_bytes")
    row = sizing.row_of("tiny", tiny).split(" | ")
    assert len(row) == sizing.heading().splitlines()[0].count(" | ") + 1
    assert row[4].split(" / ")[0] == sizing.megabytes(one["kv_cache"])


def test_the_table_of_the_docs_is_complete():
    _, inside, _ = sizing.table_of_page()
    lines = inside.strip().splitlines()
    assert "\n".join(lines[:2]) == sizing.heading()
    assert [line.split(" | ")[0][2:] for line in lines[2:]] == [sizing.SHAPES[name][0] for name in sizing.PUBLISHED]


def test_another_table_is_noticed():
    command = [sys.executable, str(ROOT / "bench" / "sizing.py"), "--build", str(BUILD), "--shapes", "tiny", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "docs/PERFORMANCE.md has another row" in done.stderr
    assert subprocess.run([*command[:-2], "9b"], capture_output=True).returncode == 2
