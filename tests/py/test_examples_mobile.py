"""examples/android and examples/ios: the exports of their READMEs lead to files for the chips that they name, and the CMake
file of the Android app takes the delegate for Qualcomm's chips."""
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from oracles import required
from program import DATA, ROOT, start

# In the order of the READMEs.
EXPORTS = [("android", 0, "XnnpackBackend"), ("android", 1, "QnnBackend"), ("ios", 0, "XnnpackBackend"), ("ios", 1, "CoreMLBackend")]

# What find_package(executorch) gives: one library of each kind that an installed ExecuTorch has.
EXECUTORCH = """
foreach(library executorch optimized_native_cpu_ops_lib xnnpack_backend)
  add_library(${library} STATIC IMPORTED)
  set_target_properties(${library} PROPERTIES IMPORTED_LOCATION /nowhere/lib${library}.a)
endforeach()
add_library(qnn_executorch_backend SHARED IMPORTED)
set_target_properties(qnn_executorch_backend PROPERTIES IMPORTED_LOCATION /nowhere/libqnn_executorch_backend.so)
"""


def commands(example):
    """The exports of a README."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^ *diffulex-edge (export CHECKPOINT .*)$", text, re.M)


@pytest.mark.parametrize("example, number, delegate", EXPORTS)
def test_exports_of_the_readmes(tmp_path, example, number, delegate):
    words = shlex.split(commands(example)[number])
    words[1:3] = [DATA / "checkpoints" / "sdar-tiny", tmp_path / "model.pte"]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}    # where Qualcomm's libraries are looked for
    done = start(*words, "--max-seq-len", "128", "--calibration-samples", "2", env=environment) if delegate == "QnnBackend" else \
        start(*words)
    if done.returncode and "needs Qualcomm's libraries" in done.stderr and \
            (platform.machine() != "x86_64" or not required("onnxruntime_qnn")):
        pytest.skip("no package onnxruntime-qnn: the export of examples/android for the NPU is NOT checked")
    assert done.returncode == 0, done.stderr
    assert delegate in start("inspect", tmp_path / "model.pte").stdout


def test_the_app_is_linked_with_the_delegates(tmp_path):
    config = tmp_path / "lib" / "cmake" / "ExecuTorch"
    config.mkdir(parents=True)
    (config / "executorch-config.cmake").write_text(EXECUTORCH)
    done = subprocess.run(["cmake", "-G", "Ninja", "-S", ROOT / "examples/android/app/src/main/cpp", "-B", tmp_path / "build",
                           f"-DEXECUTORCH_ROOT={tmp_path}", "-DQNN=ON"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    link = re.search(r"^build libdlx_jni\.so:.*?\n\n", (tmp_path / "build" / "build.ninja").read_text(), re.M | re.S)[0]
    assert "--no-as-needed /nowhere/libqnn_executorch_backend.so" in link
    assert "--whole-archive /nowhere/libxnnpack_backend.a" in link
