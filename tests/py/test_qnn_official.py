"""Programs for Qualcomm chips on the emulator of Qualcomm's libraries: operators, and whole .pte files in the official
runtime, whose wheels for Linux have the QNN delegate.

Needs the package onnxruntime-qnn (x86-64 Linux), whose libraries are Qualcomm's and no part of this project, and the
targets test_qnn and make_qnn_pte in the folder that DLX_BUILD_DIR names.
"""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from qnn_part import built, in_official_runtime, libraries
from qnn_reference import QnnReference

LIBRARIES = libraries("programs for Qualcomm chips are")
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "data"
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
ROWS, CONTEXT = 33, 64
# Weights of the layers, chip, decoder layers in a delegate: models, largest error of a logit in units of the logits' range,
# least part of the rows whose best token is the same.
# Floats are compared with the recorded logits of the float32 reference; so are files with int8, whose error is that of
# their weights (int8 in XNNPACK's arithmetic: up to 0.021), and of keys and values of 8 bits on V69. Weights of 4 bits are
# far from floats (0.29): they are compared with the same weights in numpy, and what is left is the error of grids of 16 bits
# (0.023, as with int8). Models are one whose projections have biases (dream, fast_dllm_v2) and one without.
FILES = {
    ("none", "SM8650", 0): (MODELS, 0.01, 1),
    ("none", "SM8850", 1): (MODELS[:2], 0.01, 1),
    ("int8-dynamic", "SM8650", 0): (MODELS[1:3], 0.04, 0.9),
    ("int8-dynamic", "SM8450", 0): (MODELS[2:], 0.1, 0.8),
    ("int4", "SM8650", 0): (MODELS[:2], 0.03, 0.95),
    ("int4-g32", "SM8550", 0): (MODELS[2:], 0.03, 0.95),
}
SCHEMES = {"int4": "a16w4", "int4-g32": "a16w4-g32"}    # of forms that have a reference
PAIRS = [(file, model) for file, (models, _, _) in FILES.items() for model in models]


def run(*arguments, **environment):
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "DLX_QNN_LIBRARIES": str(LIBRARIES), **environment})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def golden(model):
    cases = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"]
    return [c for c in cases if len(c["input_ids"]) <= ROWS], load_file(DATA / "forward" / f"{model}.safetensors")


def official(jobs, folder):
    """{name: logits} of jobs for qnn_official.py."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    in_official_runtime(LIBRARIES, "qnn_official.py", folder / "jobs.json", folder / "logits.safetensors")
    return load_file(folder / "logits.safetensors")


def width_of(case):
    width = re.fullmatch(r"block_causal\((\d+)\)", case["attention"])
    return int(width[1]) if width else 0


def reference(file, model, case):
    if file[0] not in SCHEMES:
        return golden(model)[1][case["name"]]
    same_weights = QnnReference(DATA / "checkpoints" / model, SCHEMES[file[0]])
    same_weights.shape.block = width_of(case)
    return torch.from_numpy(same_weights.forward(case["input_ids"]))


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
            jobs.append({"name": f"{i} {model} {case['name']}", "program": str(path), "ids": case["input_ids"],
                         "width": width_of(case)})
    return official(jobs, folder)


@pytest.mark.parametrize("file, model", PAIRS, ids=str)
def test_logits_in_the_official_runtime(logits, model, file):
    cases, (_, most, least) = golden(model)[0], FILES[file]
    assert cases
    for case in cases:
        got, want = logits[f"{list(FILES).index(file)} {model} {case['name']}"], reference(file, model, case)
        error = float((got - want).abs().max() / (want.max() - want.min()))
        same = float((got.argmax(-1) == want.argmax(-1)).float().mean())
        print(f"{model}, {file}, {case['name']}: {error:.4f} of the range, {same:.3f} of the best tokens")
        assert error < most and same >= least, case["name"]


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
