#!/usr/bin/env python3
"""Makes tests/data/traces: recorded decodes of the reference decoders on the tiny checkpoints, condensed.

    make_trace_data.py RECORDED OUT

RECORDED holds a folder for every checkpoint with golden/traces.json and golden/traces_int8.json (float32 weights, and
the same with the linear layers replaced by their dequantised int8 rows). OUT/<checkpoint>.json.gz is a list of objects
with name, weights, algorithm, options, prompt_ids, output_ids, num_forwards, and steps [block, [first position, rows,
cached positions], [[position, token, score], ...]].
"""
import gzip
import json
import sys
from pathlib import Path

MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")


def condense(trace):
    steps = [[s["block"], s["forward"], [[p, t, round(c, 6)] for p, t, c in s["accepted"]]] for s in trace["steps"]]
    kept = {key: trace[key] for key in ("name", "algorithm", "options", "prompt_ids", "output_ids", "num_forwards")}
    return kept | {"weights": trace.get("weights", "float32"), "steps": steps}


def main():
    recorded, out = map(Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for model in MODELS:
        traces = []
        for name in ("traces.json", "traces_int8.json"):
            traces += [condense(t) for t in json.loads((recorded / model / "golden" / name).read_text(encoding="utf-8"))]
        text = json.dumps(traces, separators=(",", ":")).encode()
        (out / f"{model}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
        print(f"{model}: {len(traces)} traces, {len(text)} bytes")


if __name__ == "__main__":
    main()
