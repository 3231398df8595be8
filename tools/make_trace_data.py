#!/usr/bin/env python3
"""Makes tests/data/traces: recorded decodes of the reference decoders on the tiny checkpoints, condensed.

    make_trace_data.py RECORDED OUT

RECORDED holds a folder for every checkpoint with golden/traces.json and golden/traces_int8.json (float32 weights, and
the same with the linear layers replaced by their dequantised int8 rows). OUT/<checkpoint>.json.gz is a list of objects
with name, weights, algorithm, options, prompt_ids, output_ids, num_forwards, and steps [block, [first position, rows,
cached positions], [[position, token, score], ...]]. OUT/int8.json holds one decode of int8 weights for each checkpoint,
OUT/float32.json the first two of each algorithm with float32 weights, as plain JSON for tests that read no gzip.
"""
import gzip
import json
import sys
from pathlib import Path

MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
KEPT = ("name", "algorithm", "options", "prompt_ids", "output_ids", "num_forwards")
PLAIN = ("llada_int8_018", "dream_int8_009", "sdar_int8_018", "fast_dllm_v2_int8_000")


def first_of_each(traces):
    """The first two float32 decodes of each algorithm."""
    plain = [t for t in traces if t["weights"] == "float32"]
    return [t for i, t in enumerate(plain) if sum(o["algorithm"] == t["algorithm"] for o in plain[:i]) < 2]


def condense(trace):
    steps = [[s["block"], s["forward"], [[p, t, round(c, 6)] for p, t, c in s["accepted"]]] for s in trace["steps"]]
    kept = {key: trace[key] for key in KEPT}
    return kept | {"weights": trace.get("weights", "float32"), "steps": steps}


def main():
    recorded, out = map(Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    plain, floats = [], []
    for model in MODELS:
        traces = []
        for name in ("traces.json", "traces_int8.json"):
            traces += [condense(t) for t in json.loads((recorded / model / "golden" / name).read_text(encoding="utf-8"))]
        text = json.dumps(traces, separators=(",", ":")).encode()
        (out / f"{model}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
        plain += [{"checkpoint": model} | {k: t[k] for k in KEPT} for t in traces if t["name"] in PLAIN]
        floats += [{"checkpoint": model} | {k: t[k] for k in (*KEPT, "steps")} for t in first_of_each(traces)]
        print(f"{model}: {len(traces)} traces, {len(text)} bytes")
    (out / "int8.json").write_text(json.dumps(plain) + "\n")
    (out / "float32.json").write_text("[" + ",\n".join(map(json.dumps, floats)) + "]\n")


if __name__ == "__main__":
    main()
