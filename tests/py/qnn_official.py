"""Logits of programs for Qualcomm chips, in the official runtime: a process of its own, whose loader finds the emulator.

qnn_official.py JOBS.json OUT.safetensors: JOBS is [{"name", "program", "ids", "width"}, ...]; a row sees the rows of its
block of `width` and of those before (0: all).
"""
import json
import sys

import torch
from executorch.runtime import Runtime
from safetensors.torch import save_file

HIDDEN = -10000.0


def logits(method, ids, width):
    meta = method.metadata
    shapes = [tuple(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())]
    rows, stored, n = shapes[0][0], shapes[2][1] - shapes[0][0], len(ids)
    mask = torch.full(shapes[2], HIDDEN)
    for i in range(rows):
        end = min(n, (i // width + 1) * width) if width else n
        mask[i, stored:stored + end] = 0
        mask[i, stored + i] = 0  # rows of padding see themselves
    tokens = torch.zeros(rows, dtype=torch.int64)
    tokens[:n] = torch.tensor(ids)
    caches = [torch.zeros(s, dtype=torch.float16) for s in shapes[3:]]
    return method.execute([tokens, torch.arange(rows), mask, *caches])[0][:n].clone()


def main():
    out, open_path, program, method = {}, None, None, None
    for job in json.load(open(sys.argv[1])):
        if job["program"] != open_path:
            method = program = None  # the emulator runs few delegates at a time
            open_path = job["program"]
            program = Runtime.get().load_program(open_path)
            method = program.load_method("forward")
        out[job["name"]] = logits(method, job["ids"], job["width"])
    save_file(out, sys.argv[2])


if __name__ == "__main__":
    main()
