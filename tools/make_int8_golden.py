#!/usr/bin/env python3
"""Goldens of whole int8 models as this project exports them: int8 rows for every linear layer, the LM head and the
embedding table, activations quantised per row.

usage: make_int8_golden.py ORACLE_FOLDER FIXTURES_FOLDER OUTPUT_FOLDER

Needs torch and safetensors, and the PyTorch reference (checkpoint.py, quant.py, masks.py) in ORACLE_FOLDER. The inputs
are those of the fixtures' golden/quant.json. float64 evaluation of the same model says how far rounding edges of an
activation can move a logit.
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

oracle, fixtures, output = map(Path, sys.argv[1:4])
sys.path.insert(0, str(oracle))
from checkpoint import load_checkpoint  # noqa: E402
from quant import QuantModel  # noqa: E402

output.mkdir(parents=True, exist_ok=True)
for name in ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny"):
    cases, tensors = [], {}
    inputs = [c["input_ids"] for c in json.loads((fixtures / name / "golden/quant.json").read_text())["logits"]
              if c["variant"] == "int8_dynamic"]
    models = {d: QuantModel(*load_checkpoint(fixtures / name, d), dynamic=True, embedding=True)
              for d in (torch.float32, torch.float64)}
    for i, ids in enumerate(inputs):
        logits = models[torch.float32].forward(torch.tensor(ids))
        wide = models[torch.float64].forward(torch.tensor(ids))
        tensors[f"logits.{i}"] = logits.contiguous()
        cases.append({"input_ids": ids, "logits": f"logits.{i}",
                      "max_abs_diff_to_float64": float((logits.double() - wide).abs().max())})
    save_file(tensors, str(output / f"{name}.safetensors"))
    (output / f"{name}.json").write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")
    print(name, [(len(c["input_ids"]), c["max_abs_diff_to_float64"]) for c in cases])
