"""Programs for Qualcomm chips in the official runtime, on the emulator of Qualcomm's libraries: what tests of them share.

The package onnxruntime-qnn (x86-64 Linux) has the libraries, which are Qualcomm's and no part of this project; targets of
the build lie in the folder that DLX_BUILD_DIR names. Two variables choose what runs the programs:

DLX_EXECUTORCH_PYTHON   another Python, with another version of the official runtime
DLX_QNN_EMULATOR        a folder of later libraries than those that the programs are made with

and DLX_OTHER_EXECUTORCH is a folder with another version of the package executorch, which scripts/test.sh installs.
"""
import atexit
import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from oracles import not_here, present, required
from program import ROOT

HERE = Path(__file__).resolve().parent
PYTHON = os.environ.get("DLX_EXECUTORCH_PYTHON", sys.executable)


def libraries(what):
    """The folder of Qualcomm's libraries. Where they, the official runtime or the build are missing, the importing module
    is skipped, or fails where they are required. `what` ends in "is" or "are": what is not checked then."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip(f"no emulator for {platform.machine()}: {what} NOT checked", allow_module_level=True)
    found = importlib.util.find_spec("onnxruntime_qnn")  # importing it would need onnxruntime
    if not found:
        if required("onnxruntime_qnn"):
            raise RuntimeError(f"DLX_REQUIRE_ORACLES asks for onnxruntime-qnn, which is not installed; {what} NOT checked")
        pytest.skip(f"no package onnxruntime-qnn: {what} NOT checked", allow_module_level=True)
    present("torch", what)
    if PYTHON == sys.executable:
        present("executorch.runtime", what)
    if not os.environ.get("DLX_BUILD_DIR"):
        not_here(f"DLX_BUILD_DIR does not name a build folder: {what} NOT checked")
    return Path(found.origin).parent


def built(name):
    """A target of the build."""
    files = [p for p in Path(os.environ["DLX_BUILD_DIR"]).rglob(name) if p.is_file()]
    assert files, f"{name} is not built in {os.environ['DLX_BUILD_DIR']}"
    return files[0].resolve()


@functools.cache
def emulator(libraries):
    """A folder that the official runtime finds the emulator in: examples/qnn_emulator, built as its README says."""
    build = tempfile.mkdtemp(prefix="dlx-qnn-emulator-")
    atexit.register(shutil.rmtree, build, ignore_errors=True)
    for command in (["cmake", "-S", ROOT / "examples" / "qnn_emulator", "-B", build, f"-DQNN_LIBRARIES={libraries}",
                     "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror"], ["cmake", "--build", build]):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return Path(build) / "libraries"


def in_official_runtime(libraries, script, *arguments, package=""):
    """Runs a script of this folder in a process of its own, whose loader finds the emulator where the runtime asks for the
    library. `package`: a folder that comes before Python's own. What it printed; a failure fails the test."""
    place = emulator(os.environ.get("DLX_QNN_EMULATOR", str(libraries)))
    path = os.pathsep.join(part for part in (str(package), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run([PYTHON, "-W", "ignore", HERE / script, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(place), "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
