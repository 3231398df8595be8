"""Programs for Qualcomm chips on the emulator of Qualcomm's libraries: operators, and whole .pte files in the official
runtime, whose wheels for Linux have the QNN delegate.

Needs the package onnxruntime-qnn (x86-64 Linux), whose libraries are Qualcomm's and no part of this project, and the
targets test_qnn, make_qnn_pte and qnn_interposer in the folder that DLX_BUILD_DIR names.
"""
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oracles import not_here, oracle, required

WHAT = "programs for Qualcomm chips are"
if platform.machine() != "x86_64" or sys.platform != "linux":
    pytest.skip(f"no emulator for {platform.machine()}: {WHAT} NOT checked", allow_module_level=True)
found = importlib.util.find_spec("onnxruntime_qnn")  # importing it would need onnxruntime
if not found:
    if required("onnxruntime_qnn"):
        raise RuntimeError(f"DLX_REQUIRE_ORACLES asks for onnxruntime-qnn, which is not installed; {WHAT} NOT checked")
    pytest.skip(f"no package onnxruntime-qnn: {WHAT} NOT checked", allow_module_level=True)
torch = oracle("torch", WHAT)
oracle("executorch.runtime", WHAT)
from safetensors.torch import load_file  # noqa: E402

BUILD = os.environ.get("DLX_BUILD_DIR")
if not BUILD:
    not_here(f"DLX_BUILD_DIR does not name a build folder: {WHAT} NOT checked")
DATA = Path(__file__).resolve().parent.parent / "data"
LIBRARIES = Path(found.origin).parent
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
ROWS, CONTEXT = 33, 64
# Weights of the layers, chip, decoder layers in a delegate: largest error of a logit in units of the logits' range.
# Floats are compared with the recorded logits of the float32 reference; so are quantised files, whose error is that of
# their weights (int8 in XNNPACK's arithmetic: up to 0.021), and of keys and values of 8 bits on V69.
FILES = {
    ("none", "SM8650", 0): 0.01,
    ("none", "SM8850", 1): 0.01,
    ("int8-dynamic", "SM8650", 0): 0.04,
    ("int8-dynamic", "SM8450", 0): 0.1,
}
# All models in the first; in each of the others one whose projections have biases (dream, fast_dllm_v2) and one without.
PAIRS = [(file, model) for i, file in enumerate(FILES) for m, model in enumerate(MODELS) if i == 0 or m in (i - 1, i)]


def built(name):
    files = [p for p in Path(BUILD).rglob(name) if p.is_file()]
    assert files, f"{name} is not built in {BUILD}"
    return files[0]


def run(*arguments, **environment):
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "DLX_QNN_LIBRARIES": str(LIBRARIES), **environment})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def golden(model):
    cases = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"]
    return [c for c in cases if len(c["input_ids"]) <= ROWS], load_file(DATA / "forward" / f"{model}.safetensors")


def official(jobs, folder):
    """{name: logits} of jobs for qnn_official.py. The loader finds the interposer where it looks for the library."""
    place = folder / "libraries"
    place.mkdir()
    (place / "libQnnHtp.so").symlink_to(built("libQnnHtp.so").resolve())
    for name in ("libHtpPrepare.so", "libQnnSystem.so"):
        (place / name).symlink_to(LIBRARIES / name)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    run(sys.executable, Path(__file__).parent / "qnn_official.py", folder / "jobs.json", folder / "logits.safetensors",
        LD_LIBRARY_PATH=str(place), DLX_QNN_REAL=str(LIBRARIES / "libQnnHtp.so"))
    return load_file(folder / "logits.safetensors")


def test_operators_on_the_emulator():
    out = run(built("test_qnn"))
    assert "SKIPPED" not in out and out.count("output 0") > 10, out[-2000:]


@pytest.fixture(scope="module")
def logits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qnn")
    jobs = []
    for file, model in PAIRS:
        form, chip, layers = file
        i = list(FILES).index(file)
        path = folder / f"{model}-{i}.pte"
        run(built("make_qnn_pte"), DATA / "checkpoints" / model, path, chip, ROWS, CONTEXT, form, layers)
        for case in golden(model)[0]:
            width = re.fullmatch(r"block_causal\((\d+)\)", case["attention"])
            jobs.append({"name": f"{i} {model} {case['name']}", "program": str(path), "ids": case["input_ids"],
                         "width": int(width[1]) if width else 0})
    return official(jobs, folder)


@pytest.mark.parametrize("file, model", PAIRS, ids=str)
def test_logits_in_the_official_runtime(logits, model, file):
    cases, wanted = golden(model)
    assert cases
    for case in cases:
        got, want = logits[f"{list(FILES).index(file)} {model} {case['name']}"], wanted[case["name"]]
        error = float((got - want).abs().max() / (want.max() - want.min()))
        assert error < FILES[file], case["name"]
        same = (got.argmax(-1) == want.argmax(-1)).float().mean()
        if file[0] == "none":
            assert same == 1, case["name"]
        else:
            assert same > 0.8, case["name"]


def test_no_libraries_in_the_folder(tmp_path):
    done = subprocess.run([built("make_qnn_pte"), DATA / "checkpoints" / "llada-tiny", tmp_path / "x.pte", "SM8650", "8",
                           "16", "none", "0"], capture_output=True, text=True,
                          env={**os.environ, "DLX_QNN_LIBRARIES": str(tmp_path)})
    assert done.returncode == 1
    assert "has no libQnnHtp.so; install them with 'pip install onnxruntime-qnn==2.3.0'" in done.stderr


def test_a_chip_without_floats_of_16_bits(tmp_path):
    done = subprocess.run([built("make_qnn_pte"), DATA / "checkpoints" / "llada-tiny", tmp_path / "x.pte", "SM8450", "8",
                           "16", "none", "0"], capture_output=True, text=True,
                          env={**os.environ, "DLX_QNN_LIBRARIES": str(LIBRARIES)})
    assert done.returncode == 1
    assert "SM8450 (HTP V69) has no floats of 16 bits" in done.stderr
