"""The tables of a pass' cost on paper are those that docs/PERFORMANCE.md has, and the model is near what was measured."""
import importlib.util
import subprocess
import sys

from program import ROOT

SCRIPT = ROOT / "bench" / "cost.py"


def test_the_page_has_these_tables():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_model_is_near_what_was_measured():
    spec = importlib.util.spec_from_file_location("cost", SCRIPT)
    cost = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cost)
    for (name, scheme), times in cost.TIMES.items():
        for rows, measured in times.items():
            paper = cost.milliseconds(cost.MEASURED[name], "Fast-dLLM v2 1.5B", scheme, rows, 512)
            assert 0.8 < paper / measured < 1.15, (name, scheme, rows, paper)
