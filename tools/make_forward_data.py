#!/usr/bin/env python3
"""Trims the fixtures' forward goldens (logits, cached passes) to what the tests replay.

usage: make_forward_data.py FIXTURES_FOLDER OUTPUT_FOLDER
"""
import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

CASES = {"llada-tiny": ["random_33", "prompt_then_masks"], "dream-tiny": ["random_16", "prompt_then_masks"],
         "sdar-tiny": ["random_32", "prompt_then_masks", "block_width_8"],
         "fast_dllm_v2-tiny": ["random_33", "prompt_then_masks", "block_width_16"]}

fixtures, output = map(Path, sys.argv[1:3])
output.mkdir(parents=True, exist_ok=True)
for name, wanted in CASES.items():
    golden = json.loads((fixtures / name / "golden/forward.json").read_text())["cases"]
    tensors = load_file(fixtures / name / "golden/forward.safetensors")
    cases = [{k: c[k] for k in ("name", "input_ids", "attention")} for c in golden if c["name"] in wanted]
    cached = next(c for c in golden if c["name"] == "cached")
    kept = {c["name"]: tensors[c["name"]] for c in cases}
    kept.update({k: tensors[k] for k in ("cached.chunk", "cached.part", "cached.prefix.k", "cached.prefix.v")})
    save_file({k: v.contiguous() for k, v in kept.items()}, str(output / f"{name}.safetensors"))
    keys = ("prefix_ids", "chunk_ids", "part_ids", "part_start", "what")
    (output / f"{name}.json").write_text(json.dumps({"cases": cases, "cached": {k: cached[k] for k in keys}}) + "\n")
