"""Decodes over programs for Qualcomm chips: the library's session, the official runtime, and Qualcomm's libraries on their
emulator give the recorded tokens, one of each family or, with DLX_ALL_DECODES, all that are recorded of float32 weights (hours).
With weights of 4 bits they give the tokens of the same weights in numpy. Another version of the official runtime, in the folder
that DLX_OTHER_EXECUTORCH names, gives the same, and over XNNPACK's programs, too."""
import json
import os

import pytest

import diffulex_edge
from diffulex_edge.runtime.fixed import FixedProgram
from oracles import not_here
from program import DATA, start
from qnn_part import in_official_runtime, libraries
from qnn_reference import QnnReference
from recorded import NEAR, check, departure, float_decodes

LIBRARIES = libraries("decodes over programs for Qualcomm chips are")
ALL = bool(os.environ.get("DLX_ALL_DECODES"))

# Rows of a call, positions: under full attention a call has all of them, else blocks, and prefills in pieces. The emulator
# computes as slowly as it is exact.
SHAPES = {"sdar": [(16, 96)], "fast_dllm_v2": [(32, 96), (32, 192)], "llada": [(48, 48), (72, 72)], "dream": [(48, 48), (80, 80)]}


NARROW = (("llada", "a16w4"), ("sdar", "a16w4-g32"))


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


def export(folder, name, quantization, context, rows, *options):
    path = folder / f"{name}-{quantization}-{context}{'-'.join(options[:2])}.pte"
    made = start("export", DATA / "checkpoints" / f"{name}-tiny", path, "--quantization", quantization, "--max-seq-len", context,
                 "--max-rows", rows, *options)
    assert made.returncode == 0, made.stderr    # which Qualcomm's libraries write to as well
    return path


def jobs_of(folder, name, quantization, traces, *options):
    """A job for each shape, with the traces for which it is the smallest."""
    jobs, left = [], list(traces)
    for rows, context in SHAPES[name]:
        fit = [t for t in left if positions(t) <= context]
        left = [t for t in left if positions(t) > context]
        if fit:
            path = export(folder, name, quantization, context, rows, "--backend", "qnn", "--qnn-lib-dir", LIBRARIES, *options)
            jobs.append([f"{name} {quantization}", str(path), fit])
    return jobs


def run_jobs(folder, jobs, package=""):
    """(version of the runtime, {name: [(trace, answer), ...]})"""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    lines = in_official_runtime(LIBRARIES, "fixed_decodes.py", folder / "jobs.json", package=package).splitlines()
    version = next(line.split()[1] for line in lines if line.startswith("runtime "))
    answers = [json.loads(line[7:]) for line in lines if line.startswith("decode ")]
    asked = [(name, trace) for name, _, traces in jobs for trace in traces]
    assert [name for name, _ in asked] == [answer[0] for answer in answers]
    out = {}
    for (name, trace), answer in zip(asked, answers):
        out.setdefault(name, []).append((trace, answer[1:]))
    return version, out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("qnn")


@pytest.fixture(scope="module")
def jobs(folder):
    """Of floats of 16 bits, and of weights of 4 bits."""
    made = [job for name in SHAPES for job in jobs_of(folder, name, "fp16", recorded(name))]
    for name, quantization in NARROW:
        made += jobs_of(folder, name, quantization, [shortest(float_decodes(name))], "--calibration-samples", "8")
    return made


@pytest.fixture(scope="module")
def answers(folder, jobs):
    return run_jobs(folder, jobs)


@pytest.mark.parametrize("name", SHAPES)
def test_recorded_decodes(answers, name):
    got = answers[1][f"{name} fp16"]
    assert len(got) >= (45 if ALL else 1)
    check(name, [trace for trace, _ in got], [departure(trace, *answer) for trace, answer in got])


@pytest.mark.parametrize("name, quantization", NARROW)
def test_decodes_with_weights_of_4_bits(jobs, answers, name, quantization):
    """Float32 weights give other tokens."""
    (trace, answer), = answers[1][f"{name} {quantization}"]
    facts = FixedProgram(next(path for job, path, _ in jobs if job == f"{name} {quantization}")).facts
    reference = QnnReference(DATA / "checkpoints" / f"{name}-tiny", quantization)
    wanted = diffulex_edge.generate(reference.forward_function(), trace["prompt_ids"], facts=facts,
                                    options={"algorithm": trace["algorithm"], **trace["options"]})
    assert wanted.output_ids != trace["output_ids"]
    accepted = [[0, 0, [list(a) for a in step.accepted]] for step in wanted.steps]
    assert departure({**trace, "output_ids": wanted.output_ids, "num_forwards": wanted.num_forwards, "steps": accepted}, *answer) is None


def test_another_version_of_the_official_runtime(folder, jobs, answers):
    """One decode of each family, over Qualcomm's programs and over XNNPACK's."""
    package = os.environ.get("DLX_OTHER_EXECUTORCH")
    if not package:
        not_here("DLX_OTHER_EXECUTORCH names no folder: another version of the official runtime is NOT checked")
    again = {job: [job, path, traces[:1]] for job, path, traces in jobs if job.endswith(" fp16")}
    for name in SHAPES:
        trace = shortest(float_decodes(name))
        rows, context = SHAPES[name][0]
        again[name] = [name, str(export(folder, name, "none", context, rows, "--kv", "fixed")), [trace]]
    version, got = run_jobs(folder, list(again.values()), package)
    assert version != answers[0] and len(got) == 2 * len(SHAPES)
    for job, ((trace, answer),) in got.items():
        left = departure(trace, *answer)
        assert not left or job.endswith(" fp16") and left[0] < NEAR, left
