"""Decodes over programs for Qualcomm chips: the library's session, the official runtime, and Qualcomm's libraries on their
emulator give the recorded tokens: one of a block-causal family and one with full attention, or, with DLX_ALL_DECODES, all
that are recorded of float32 weights (an hour)."""
import json
import os

import pytest

from program import DATA, start
from qnn_part import in_official_runtime, libraries
from recorded import departure, float_decodes

LIBRARIES = libraries("decodes over programs for Qualcomm chips are")
ALL = bool(os.environ.get("DLX_ALL_DECODES"))

# Rows of a call, positions: under full attention a call has all of them, else blocks, and prefills in pieces. The emulator
# computes as slowly as it is exact.
SHAPES = {"sdar": [(16, 96)], "fast_dllm_v2": [(32, 96), (32, 192)], "llada": [(48, 48), (72, 72)], "dream": [(48, 48), (80, 80)]}


def recorded(name):
    every = float_decodes(name)
    return every if ALL else [t for t in every if positions(t) <= 48][:1]


def positions(trace):
    """That a decode may need, however early it stops."""
    options = trace["options"]
    return len(trace["prompt_ids"]) + options.get("gen_length", options.get("max_new_tokens", 0))


def decodes(folder, name, quantization, traces, *options):
    """What came out for each trace, in the smallest shape that it fits."""
    answers = {}
    for rows, context in SHAPES[name]:
        fit = [i for i, t in enumerate(traces) if i not in answers and positions(t) <= context]
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
    others = [d for d in (departure(trace, *answer) for trace, answer in zip(traces, answers)) if d]
    print(f"{name}: {len(traces) - len(others)} of {len(traces)} decodes are the recorded ones")
    assert not others, "\n".join(others)
