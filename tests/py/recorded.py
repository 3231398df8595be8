"""Recorded decodes (tests/data/traces), and where another machine's decode of the same prompt leaves one."""
import gzip
import json

from program import DATA


def float_decodes(family):
    """All that are recorded of float32 weights of "llada", "dream", "sdar" or "fast_dllm_v2"."""
    short = [t for t in json.loads((DATA / "traces" / "float32.json").read_text()) if t["checkpoint"] == f"{family}-tiny"]
    every = json.loads(gzip.decompress((DATA / "traces" / f"{family}-tiny.json.gz").read_bytes()))
    return short + [t for t in every if t["weights"] == "float32"]


# Of the confidences of two choices that float16 cannot tell apart.
NEAR = 2e-3


def departure(trace, output_ids, num_forwards, accepted):
    """None: it is the recorded decode. Else (gap, sentence) about the first step that accepted something else. `accepted`: for
    each step [[position, id, confidence], ...]. gap: how far the choices were from each other; below NEAR they were near."""
    if output_ids == trace["output_ids"] and num_forwards == trace["num_forwards"]:
        return None
    about = f"{trace.get('name')} {trace['options']}"
    for i, (step, got) in enumerate(zip(trace["steps"], accepted)):
        if [a[:2] for a in step[2]] != [a[:2] for a in got]:
            return gap_of(step[2], got, trace["options"]), f"{about}: pass {i} accepted {got}, recorded is {step[2]}"
    return float("inf"), f"{about}: {num_forwards} passes gave {output_ids}"


def gap_of(recorded, got, options):
    """Between the confidences of what was accepted, in order; where one more was accepted, from the threshold for that."""
    if len(recorded) == len(got):
        return max(abs(a - b) for a, b in zip(*(sorted(x[2] for x in side) for side in (recorded, got))))
    threshold = options.get("threshold", options.get("confidence_threshold"))
    both = {tuple(x[:2]) for x in recorded} & {tuple(x[:2]) for x in got}
    return max((abs(x[2] - threshold) if threshold else float("inf")) for x in [*recorded, *got] if tuple(x[:2]) not in both)


def check(what, traces, departures):
    """Prints how many decodes are the recorded ones, and each of the others. Of ten decodes one may leave the recorded one
    where two choices are near each other; where only a few were made, none."""
    others = [d for d in departures if d]
    print(f"{what}: {len(traces) - len(others)} of {len(traces)} decodes are the recorded ones")
    for gap, sentence in others:
        print(f"  by {gap:.6f}: {sentence}")
    assert len(others) <= len(traces) // 10 and all(gap < NEAR for gap, _ in others), others
