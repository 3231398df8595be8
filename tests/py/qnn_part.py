"""Programs for Qualcomm chips in the official runtime, on the emulator of Qualcomm's libraries: what tests of them share.

The package onnxruntime-qnn (x86-64 Linux) has the libraries, which are Qualcomm's and no part of this project; targets of
the build lie in the folder that DLX_BUILD_DIR names. Two variables choose what runs the programs:

DLX_EXECUTORCH_PYTHON   another Python, with another version of the official runtime
DLX_QNN_EMULATOR        a folder of later libraries than those that the programs are made with
"""
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from oracles import not_here, present, required

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


def in_official_runtime(folder, libraries, script, *arguments):
    """Runs a script of this folder in a process of its own, whose loader finds the interposer where the runtime asks for the
    library, and behind it the emulator. What it printed; a failure fails the test."""
    emulator = Path(os.environ.get("DLX_QNN_EMULATOR", libraries))
    place = folder / "libraries"
    if not place.exists():
        place.mkdir()
        (place / "libQnnHtp.so").symlink_to(built("libQnnHtp.so"))
        for name in ("libHtpPrepare.so", "libQnnSystem.so"):
            (place / name).symlink_to(emulator / name)
    done = subprocess.run([PYTHON, "-W", "ignore", HERE / script, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(place), "DLX_QNN_REAL": str(emulator / "libQnnHtp.so")})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
