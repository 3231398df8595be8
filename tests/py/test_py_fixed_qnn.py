"""Decodes over programs for Qualcomm chips: the library's session, the official runtime, and Qualcomm's libraries on their
emulator give the recorded tokens: one of a block-causal family and one with full attention, or, with DLX_ALL_DECODES, all
that are recorded of float32 weights (hours). With weights of 4 bits they give the tokens of the same weights in numpy."""
import json
import os

import pytest

import diffulex_edge
from diffulex_edge.runtime.fixed import FixedProgram
from program import DATA, start
from qnn_part import in_official_runtime, libraries
from qnn_reference import QnnReference
from recorded import check, departure, float_decodes

LIBRARIES = libraries("decodes over programs for Qualcomm chips are")
ALL = bool(os.environ.get("DLX_ALL_DECODES"))

# Rows of a call, positions: under full attention a call has all of them, else blocks, and prefills in pieces. The emulator
# computes as slowly as it is exact.
SHAPES = {"sdar": [(16, 96)], "fast_dllm_v2": [(32, 96), (32, 192)], "llada": [(48, 48), (72, 72)], "dream": [(48, 48), (80, 80)]}


def recorded(name):
    every = float_decodes(name)
    return every if ALL else [shortest(every)]


def shortest(traces):
    """Of several passes: the emulator is slow."""
    return min((t for t in traces if positions(t) <= 48 and t["num_forwards"] > 5), key=lambda t: t["num_forwards"])


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
        printed = in_official_runtime(LIBRARIES, "fixed_decodes.py", path, jobs)
        lines = [json.loads(line[7:]) for line in printed.splitlines() if line.startswith("decode ")]
        assert len(lines) == len(fit)
        answers.update(zip(fit, lines))
    return [answers[i] for i in range(len(traces))]


@pytest.mark.parametrize("name", SHAPES if ALL else ("sdar", "dream"))
def test_recorded_decodes(tmp_path, name):
    traces = recorded(name)
    answers = decodes(tmp_path, name, "fp16", traces)
    assert len(answers) >= (45 if ALL else 1)
    check(name, traces, [departure(trace, *answer) for trace, answer in zip(traces, answers)])


@pytest.mark.parametrize("name, quantization", (("llada", "a16w4"), ("sdar", "a16w4-g32")))
def test_decodes_with_weights_of_4_bits(tmp_path, name, quantization):
    """Float32 weights give other tokens."""
    trace = shortest(float_decodes(name))
    answer, = decodes(tmp_path, name, quantization, [trace], "--calibration-samples", 8)
    facts = FixedProgram(str(next(tmp_path.glob("*.pte")))).facts
    reference = QnnReference(DATA / "checkpoints" / f"{name}-tiny", quantization)
    wanted = diffulex_edge.generate(reference.forward_function(), trace["prompt_ids"], facts=facts,
                                    options={"algorithm": trace["algorithm"], **trace["options"]})
    assert wanted.output_ids != trace["output_ids"]
    accepted = [[0, 0, [list(a) for a in step.accepted]] for step in wanted.steps]
    assert departure({**trace, "output_ids": wanted.output_ids, "num_forwards": wanted.num_forwards, "steps": accepted}, *answer) is None
