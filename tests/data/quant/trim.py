#!/usr/bin/env python3
"""int8 rows of some weights of the tiny checkpoints, as PyTorch computes them.

usage: trim.py FIXTURES_FOLDER OUTPUT_FOLDER

FIXTURES_FOLDER holds <family>-tiny/golden/quant.{json,safetensors}, recorded from the PyTorch reference:
scale = max|row| / 127 (1 for a row of zeros), q = clamp(round(w / scale), -128, 127). The tensors are renamed after the
checkpoint's own ("<weight>.q", "<weight>.scales"); of the vocabulary-sized ones only the scales are kept. "edge" is a
matrix of awkward rows: zeros, ties, tiny and huge values.
"""
import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

QWEN = {"embed": "model.embed_tokens", "lm_head": "lm_head", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
        "gate": "mlp.gate_proj", "down": "mlp.down_proj"}
LLADA = {"embed": "model.transformer.wte", "lm_head": "model.transformer.ff_out", "q": "q_proj", "k": "k_proj",
         "gate": "ff_proj", "down": "ff_out"}


def published(family, weight):
    table, layers = (LLADA, "model.transformer.blocks") if family == "llada" else (QWEN, "model.layers")
    if not weight.startswith("layers."):
        return table[weight] + ".weight"
    _, layer, part = weight.split(".")
    return f"{layers}.{layer}.{table[part]}.weight"


fixtures, output = map(Path, sys.argv[1:3])
for family in ("llada", "dream", "sdar", "fast_dllm_v2"):
    golden = fixtures / f"{family}-tiny" / "golden"
    tensors = load_file(golden / "quant.safetensors")
    tied = family == "fast_dllm_v2"
    kept = {}
    for row in json.loads((golden / "quant.json").read_text())["int8_rows"]:
        weight = row["weight"]
        if weight.startswith("tensor "):
            if family == "llada":  # the same in all four
                kept |= {"edge": tensors[weight[7:]], "edge.q": tensors[row["q"]],
                         "edge.scales": tensors[row["scale"]]}
            continue
        if weight == "lm_head" and tied:
            continue
        name = published(family, weight)
        kept[name + ".scales"] = tensors[row["scale"]]
        if weight not in ("embed", "lm_head"):
            kept[name + ".q"] = tensors[row["q"]]
    save_file(kept, output / f"{family}-tiny.safetensors")
