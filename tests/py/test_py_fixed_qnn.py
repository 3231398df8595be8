"""Decodes over programs for Qualcomm chips: the library's session, the official runtime, and Qualcomm's libraries on their
emulator give the recorded tokens: of a block-causal family and of one with full attention, or, with DLX_ALL_DECODES, of all.

Needs the package onnxruntime-qnn (x86-64 Linux) and the target qnn_interposer in the folder that DLX_BUILD_DIR names.
"""
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from oracles import not_here, oracle, required
from program import DATA, start

WHAT = "decodes over programs for Qualcomm chips are"
if platform.machine() != "x86_64" or sys.platform != "linux":
    pytest.skip(f"no emulator for {platform.machine()}: {WHAT} NOT checked", allow_module_level=True)
found = importlib.util.find_spec("onnxruntime_qnn")  # importing it would need onnxruntime
if not found:
    if required("onnxruntime_qnn"):
        raise RuntimeError(f"DLX_REQUIRE_ORACLES asks for onnxruntime-qnn, which is not installed; {WHAT} NOT checked")
    pytest.skip(f"no package onnxruntime-qnn: {WHAT} NOT checked", allow_module_level=True)
oracle("torch", WHAT)
oracle("executorch", WHAT)
if not os.environ.get("DLX_BUILD_DIR"):
    not_here(f"DLX_BUILD_DIR does not name a build folder: {WHAT} NOT checked")
LIBRARIES = Path(found.origin).parent

# Rows of a call: all positions under full attention, else blocks and prefills in pieces. The emulator computes as slowly as
# it is exact.
ROWS = {"sdar": 16, "fast_dllm_v2": 32, "llada": 48, "dream": 48}


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """The environment in which the runtime finds the emulator, behind the interposer."""
    folder = tmp_path_factory.mktemp("libraries")
    interposer = next(Path(os.environ["DLX_BUILD_DIR"]).rglob("qnn_interposer/libQnnHtp.so"))
    (folder / "libQnnHtp.so").symlink_to(interposer.resolve())
    for name in ("libHtpPrepare.so", "libQnnSystem.so"):
        (folder / name).symlink_to(LIBRARIES / name)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "DLX_QNN_REAL": str(LIBRARIES / "libQnnHtp.so")}


@pytest.mark.parametrize("name", ROWS if os.environ.get("DLX_ALL_DECODES") else ("sdar", "dream"))
def test_a_recorded_decode(loader, tmp_path, name):
    every = json.loads((DATA / "traces" / "float32.json").read_text())
    traces = [t for t in every if t["checkpoint"] == f"{name}-tiny" and len(t["output_ids"]) <= 48][:1]
    assert traces
    path = tmp_path / "model.pte"
    made = start("export", DATA / "checkpoints" / f"{name}-tiny", path, "--quantization", "fp16", "--backend", "qnn",
                 "--qnn-lib-dir", LIBRARIES, "--max-seq-len", "96", "--max-rows", ROWS[name])
    assert made.returncode == 0, made.stderr    # which Qualcomm's libraries write to as well
    (tmp_path / "traces.json").write_text(json.dumps(traces))
    done = subprocess.run([sys.executable, "-W", "ignore", Path(__file__).parent / "fixed_decodes.py", path,
                           tmp_path / "traces.json"], capture_output=True, text=True, env=loader)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    answers = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("[[[")))
    for trace, (ids, passes) in zip(traces, answers):
        assert ids == trace["output_ids"], trace["name"]
        assert passes == trace["num_forwards"], trace["name"]
