"""Which operators of a file go where: what `export` says of it, and what `inspect` reads of the file that was written."""
import importlib.util
import json
import os
from pathlib import Path

import pytest

from oracles import required
from program import DATA, run, run_json, start

QNN = importlib.util.find_spec("onnxruntime_qnn")  # importing it would need onnxruntime
CHECKPOINT = DATA / "checkpoints" / "sdar-tiny"


def group(summary, home, method="forward"):
    """{operator: row} of a home in a method, and how many delegates it has there."""
    found = [g for g in summary["partition"] if (g["home"], g["method"]) == (home, method)]
    if not found:
        return {}, 0
    return {row["operator"]: row for row in found[0]["operators"]}, found[0]["delegates"]


def test_core_ml(tmp_path):
    path = tmp_path / "m.pte"
    options = (CHECKPOINT, path, "--backend", "coreml", "--quantization", "fp16", "--delegate-layers", 1)
    summary = run_json("export", *options)
    taken, delegates = group(summary, "coreml")
    assert delegates == 2 and taken["LINEAR"]["count"] == 15 and "EMBEDDING" not in taken
    left, none = group(summary, "operators")
    assert none == 0 and list(left) == ["EMBEDDING"] and left["EMBEDDING"]["count"] == 3
    assert left["EMBEDDING"]["constant_bytes"] == summary["parts"]["embedding"] + summary["parts"]["other"]

    text = run("export", *options)
    assert "\n  coreml           2 delegates, " in text
    assert "\nwhat stays on the CPU\n  no delegate      3 operators, " in text
    assert "\n    EMBEDDING      3, " in text and "constants" in text

    method = run_json("inspect", path)["methods"][0]
    assert method["steps"][0] == {"operators": {"aten::embedding.out": 3}}
    assert [s["delegate"] for s in method["steps"][1:]] == [0, 1]
    assert sum(d["operators"]["linear"] for d in method["delegates"]) == taken["LINEAR"]["count"] + 1  # the head in two
    assert [d["id"] for d in method["delegates"]] == 2 * ["CoreMLBackend"]
    assert all(d["options"]["compute_units"] == "cpu_and_ne" and d["specification"] == 9 for d in method["delegates"])
    assert len({d["identifier"] for d in method["delegates"]}) == 2
    weights = sum(d["weight_bytes"] for d in method["delegates"])
    constants = sum(row["constant_bytes"] for row in taken.values())
    assert constants <= weights < constants + 8192  # headers, alignment
    assert "an Apple device" in method["reason"] and 'runtime="executorch"' in method["reason"]
    assert run("inspect", path).count(" CoreMLBackend, payload ") == 2


def test_xnnpack_has_all(tmp_path):
    path = tmp_path / "m.pte"
    summary = run_json("export", CHECKPOINT, path, "--quantization", "none")
    taken, delegates = group(summary, "xnnpack")
    assert delegates == 1 and len(summary["partition"]) == 2
    method = run_json("inspect", path)["methods"][0]
    assert method["delegates"][0]["operators"]["FullyConnected"] == taken["LINEAR"]["count"]
    assert method["delegates"][0]["operators"]["BatchMatrixMultiply"] == taken["BMM"]["count"]
    assert "stays on the CPU" not in run("export", CHECKPOINT, path, "--quantization", "none")


def test_qnn(tmp_path):
    if not QNN and not required("onnxruntime_qnn"):
        pytest.skip("no package onnxruntime-qnn: what a QNN file is said to hold is NOT checked")
    path, folder = tmp_path / "m.pte", Path(QNN.origin).parent
    options = (CHECKPOINT, path, "--backend", "qnn", "--quantization", "fp16", "--qnn-lib-dir", folder, "--soc", "SM8550")
    done = start("export", *options, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    taken, delegates = group(summary, "qnn")
    assert delegates == 1 and taken["LINEAR"]["count"] == 15
    assert list(group(summary, "operators")[0]) == ["EMBEDDING"]
    method = run_json("inspect", path)["methods"][0]
    qnn = method["delegates"][-1]
    assert (qnn["id"], qnn["chip"], qnn["chip_name"], qnn["arch"]) == ("QnnBackend", 43, "SM8550", 73)
    assert qnn["float16"] and qnn["compiled"] and 0 < qnn["binary_bytes"] <= qnn["payload_bytes"] - 256
    text = run("inspect", path)
    assert "    chip           43 (SM8550), HTP V73, " in text
    found = run_json("doctor", env={**os.environ, "QNN_SDK_ROOT": str(folder)})["backends"][-1]["found"]
    assert found == f"QNN {qnn['qnn_version']} in {folder}" and summary["qnn_version"] == qnn["qnn_version"]
    assert f"    compiled by    QNN {qnn['qnn_version']}\n" in text
