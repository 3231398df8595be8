"""diffulex_edge.ray on a cluster of two workers, one of which is killed. Ray is large and takes half a minute to start:
DLX_RAY names a Python that has it (tests/requirements-ray.txt)."""
import json
import os
import subprocess

import pytest

import server as S
from diffulex_edge.ray import Generate
from program import ROOT
from ray_rows import OPTIONS, rows

if not os.environ.get("DLX_RAY"):
    pytest.skip("DLX_RAY names no Python with Ray: a cluster that loses a worker NOT checked", allow_module_level=True)


def test_a_worker_that_is_killed_loses_and_changes_nothing(tmp_path):
    model = S.export_all(tmp_path, ["dialog"])["dialog"]
    out, temporary = tmp_path / "out", tmp_path / "t"
    temporary.mkdir()
    here = str(ROOT / "tests" / "py")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{here}", "TMPDIR": str(temporary),
                   "RAY_TMPDIR": f"/tmp/ray-{os.getpid()}", "RAY_USAGE_STATS_ENABLED": "0",
                   "RAY_raylet_start_wait_time_s": "300"}
    done = subprocess.run([os.environ["DLX_RAY"], f"{here}/ray_program.py", str(model), str(out)], env=environment,
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert "one killed behind the first row" in done.stdout
    got = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["id"] for row in got) == list(range(120))
    # The same without Ray, in one batch, several at a time, on this Python.
    given = rows()
    alone = Generate(model, parallel=8, **OPTIONS)({name: [row[name] for row in given] for name in given[0]})
    expected = {i: tuple(alone[name][i] for name in ("answer", "finish_reason", "new_tokens", "error")) for i in range(120)}
    assert {row["id"]: (row["answer"], row["finish_reason"], row["new_tokens"], row["error"]) for row in got} == expected
    assert len({answer for answer, *_ in expected.values()}) > 100 and [i for i in expected if expected[i][3]] == [7]
    assert all(row["messages"] == given[row["id"]]["messages"] for row in got)
    assert len(list(temporary.glob("diffulex-edge-models-*/*.pte"))) == 1
