"""Recorded decodes (tests/data/traces), and where another machine's decode of the same prompt leaves one."""
import gzip
import json

from program import DATA


def float_decodes(family):
    """All that are recorded of float32 weights of "llada", "dream", "sdar" or "fast_dllm_v2"."""
    short = [t for t in json.loads((DATA / "traces" / "float32.json").read_text()) if t["checkpoint"] == f"{family}-tiny"]
    every = json.loads(gzip.decompress((DATA / "traces" / f"{family}-tiny.json.gz").read_bytes()))
    return short + [t for t in every if t["weights"] == "float32"]


def departure(trace, output_ids, num_forwards, accepted):
    """None: it is the recorded decode. Else a sentence about the first step that accepted something else, with the recorded
    confidences of all that were accepted then and this time: how near the choice was. `accepted`: for each step
    [[position, id, confidence], ...]."""
    if output_ids == trace["output_ids"] and num_forwards == trace["num_forwards"]:
        return None
    for i, (step, got) in enumerate(zip(trace["steps"], accepted)):
        if [a[:2] for a in step[2]] != [a[:2] for a in got]:
            return f"{trace.get('name')} {trace['options']}: pass {i} accepted {got}, recorded is {step[2]}"
    return f"{trace.get('name')} {trace['options']}: {num_forwards} passes gave {output_ids}"
