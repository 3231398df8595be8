"""Decodes over programs for Qualcomm chips: the library's session, the official runtime, and Qualcomm's libraries on their
emulator give the recorded tokens: one of a block-causal family and one with full attention, or, with DLX_ALL_DECODES, all
that are recorded of float32 weights (an hour)."""
import gzip
import json
import os

import pytest

from program import DATA, start
from qnn_part import in_official_runtime, libraries

LIBRARIES = libraries("decodes over programs for Qualcomm chips are")
ALL = bool(os.environ.get("DLX_ALL_DECODES"))

# Rows of a call, positions: under full attention a call has all of them, else blocks, and prefills in pieces. The emulator
# computes as slowly as it is exact.
SHAPES = {"sdar": [(16, 96)], "fast_dllm_v2": [(32, 96), (32, 208)], "llada": [(48, 48), (112, 112)], "dream": [(48, 48), (112, 112)]}


def recorded(name):
    short = [t for t in json.loads((DATA / "traces" / "float32.json").read_text()) if t["checkpoint"] == f"{name}-tiny"]
    if not ALL:
        return [t for t in short if len(t["output_ids"]) <= 48][:1]
    every = json.loads(gzip.decompress((DATA / "traces" / f"{name}-tiny.json.gz").read_bytes()))
    return short + [t for t in every if t["weights"] == "float32"]


def decodes(folder, name, quantization, traces, *options):
    """What came out for each trace, in the smallest shape that it fits."""
    answers = {}
    for rows, context in SHAPES[name]:
        fit = [i for i, t in enumerate(traces) if i not in answers and len(t["output_ids"]) <= context]
        if not fit:
            continue
        path, jobs = folder / f"{name}-{context}.pte", folder / "traces.json"
        made = start("export", DATA / "checkpoints" / f"{name}-tiny", path, "--quantization", quantization, "--backend", "qnn",
                     "--qnn-lib-dir", LIBRARIES, "--max-seq-len", context, "--max-rows", rows, *options)
        assert made.returncode == 0, made.stderr    # which Qualcomm's libraries write to as well
        jobs.write_text(json.dumps([traces[i] for i in fit]))
        printed = in_official_runtime(folder, LIBRARIES, "fixed_decodes.py", path, jobs)
        lines = [json.loads(line[7:]) for line in printed.splitlines() if line.startswith("decode ")]
        assert len(lines) == len(fit)
        answers.update(zip(fit, lines))
    return [answers[i] for i in range(len(traces))]


@pytest.mark.parametrize("name", SHAPES if ALL else ("sdar", "dream"))
def test_recorded_decodes(tmp_path, name):
    traces = recorded(name)
    answers = decodes(tmp_path, name, "fp16", traces)
    assert len(answers) >= (45 if ALL else 1)
    others = [{k: t[k] for k in ("algorithm", "options", "prompt_ids")} for t, got in zip(traces, answers)
              if got != [t["output_ids"], t["num_forwards"]]]
    print(f"{name}: {len(traces) - len(others)} of {len(traces)} decodes are the recorded ones")
    assert not others, json.dumps(others)
