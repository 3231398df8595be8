#!/usr/bin/env python3
"""Goldens of whole quantised models, one for each scheme: logits by the formulas of docs/QUANTIZATION.md, in float64 but
for what a formula rounds (tests/py/scheme_reference.py).

usage: make_scheme_golden.py OUTPUT_FOLDER    (tests/data/schemes)

The ids of a case are such that no activation lies near a rounding edge: float32 moves none of them across, so that whoever
computes by the rule has the same integers, and logits agree as closely as those of float models. Ranges of int8-static
are the extremes of other ids in float32 times 0.9, so that some numbers are cut off, and one output is on a grid that is too
fine for its products. Needs numpy and safetensors.
"""
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "py"))
from scheme_reference import Reference  # noqa: E402

MODELS = {"llada-tiny": 1416, "dream-tiny": 1323, "sdar-tiny": 1226, "fast_dllm_v2-tiny": 1372}  # and their masks
SCHEMES = ("fp16", "bf16", "int8-dynamic", "int8-static", "int8-weight-only", "int4", "int4-g32", "int4-g64", "int4-g128")
# Rows of 192 have no groups of 128; a scheme that fits none of a model's weights is left out.
RULES = {"sdar-tiny": {"int4-g128": [("layers.*.o", "int4-g64")]}}
FITS = {"int4-g32": ("llada-tiny", "sdar-tiny", "fast_dllm_v2-tiny"), "int4-g64": ("sdar-tiny",), "int4-g128": ("sdar-tiny",)}
ROWS, KEPT, TRIES = 8, 4, 4000
TOO_FINE = "layers.1.v.output"


def ids_of(seed, mask, n):
    """Random ids, some of them masks."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 1200, n)
    return [int(i) for i in np.where(rng.random(n) < 0.3, mask, ids)]


def ranges_of(folder, model):
    wide = Reference(folder, "none", dtype=np.float32)
    wide.forward(ids_of(1000, MODELS[model], 64))
    ranges = {k: [float(f"{0.9 * end:.6g}") for end in seen] for k, seen in wide.seen.items() if k.startswith("layers")}
    if model == "llada-tiny":
        ranges[TOO_FINE] = [-1e-9, 1e-9]
    return ranges


def clear(wide, narrow, ids):
    """Logits, if every rounding is clear, by how much: distance from an edge over what float32 moves."""
    logits, single = wide.forward(ids), narrow.forward(ids)
    least = np.inf
    for a, b in zip(wide.rounded, narrow.rounded):
        inside = np.isfinite(a)
        if (inside != np.isfinite(b)).any():
            return None, 0
        moved = np.abs(a[inside] - b[inside]).max(initial=0)
        edge = np.abs(a[inside] - np.floor(a[inside]) - 0.5).min(initial=0.5)
        least = min(least, edge / max(moved, 1e-7))
        if least < 4:
            return None, least
    assert np.abs(logits - single).max() < 1e-5 * (logits.max() - logits.min())
    return logits, least


def main():
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    for model in MODELS:
        folder, cases, tensors = ROOT / "tests" / "data" / "checkpoints" / model, [], {}
        ranges = ranges_of(folder, model)
        (output / f"{model}.ranges.json").write_text(json.dumps(
            {"ranges": 1, "observer": "minmax", "samples": 1, "rows": 64, "tensors": ranges}) + "\n")
        for scheme in (s for s in SCHEMES if model in FITS.get(s, MODELS)):
            rules = RULES.get(model, {}).get(scheme, [])
            wide, narrow = (Reference(folder, scheme, rules, ranges, d) for d in (np.float64, np.float32))
            for seed in range(TRIES):
                ids = ids_of(seed, MODELS[model], ROWS)
                logits, least = clear(wide, narrow, ids)
                if logits is not None:
                    break
            else:
                raise SystemExit(f"{model}, {scheme}: no ids without an activation near an edge")
            tensors[scheme] = np.ascontiguousarray(logits[-KEPT:], np.float32)
            cases.append({"scheme": scheme, "input_ids": ids, "attn_block": wide.shape.block, "logits": scheme,
                          **({"recipe": f"{model}.{scheme}.json"} if rules else {})})
            if rules:
                (output / f"{model}.{scheme}.json").write_text(json.dumps(
                    {"default": scheme, "tensors": [{"pattern": p, "scheme": f} for p, f in rules]}) + "\n")
            print(model, scheme, "seed", seed, "clear by", round(float(least), 1))
        save_file(tensors, str(output / f"{model}.safetensors"))
        (output / f"{model}.json").write_text(json.dumps({"kept_rows": KEPT, "cases": cases}) + "\n")


main()
