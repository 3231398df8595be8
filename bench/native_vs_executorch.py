#!/usr/bin/env python3
"""One forward pass, native runtime against the official ExecuTorch runtime, on the same .pte, in one process.

The two take turns call by call, so both see the same neighbours, clock and memory bandwidth; while one runs, the other's
workers sleep. Prints milliseconds (minimum and median of each) and the ratio official / native: above 1 the native
runtime is faster. The logits of both are compared as well, so that equal work is measured.

usage: native_vs_executorch.py model.pte [--rows 32] [--context 512] [--threads 2] [--repeats 15] [--library PATH] [--json]

Needs executorch 1.4.1 and torch. On a busy machine give the process the cores (for example with `nice`); the ratio is
the number to quote, not the milliseconds.
"""
import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from executorch.extension.pybindings import _portable_lib
from executorch.runtime import Runtime, Verification

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
from diffulex_edge import Model, _native  # noqa: E402


class Native:
    """A session of the native library over the file, called with a buffer of ours for the logits."""

    def __init__(self, path, threads):
        self.model = Model(path, threads=threads)
        self.session = self.model.session()

    def forward(self, ids, start, context, store, logits, block):
        pointer = ctypes.cast(logits.data_ptr(), ctypes.POINTER(ctypes.c_float)) if logits is not None else None
        call = _native.ForwardCall(ids=(ctypes.c_int32 * len(ids))(*ids), n_ids=len(ids), start=start,
                                   n_context=1 if context else 0, attn_block=block, n_store=len(ids) if store else 0,
                                   n_rows=len(ids) if logits is not None else 0, logits=pointer)
        call.context[0] = _native.Span(0, context)
        with self.session._borrow() as handle:
            _native.call("dlx_session_forward", handle, ctypes.byref(call))


class Official:
    """The stock runtime, with the cache in torch tensors that go in by pointer."""

    def __init__(self, path, threads):
        _portable_lib._unsafe_reset_threadpool(threads)
        self.program = Runtime.get().load_program(str(path), verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")
        meta = self.method.metadata
        self.shape = list(meta.input_tensor_meta(2).sizes())
        self.layers = (meta.num_inputs() - 2) // 2
        self.cache = [torch.zeros(self.shape) for _ in range(2 * self.layers)]

    def forward(self, ids, start, context, store):
        out = self.method.execute([torch.tensor(ids), torch.arange(start, start + len(ids))] + [c[:context] for c in self.cache])
        if store:
            for cache, new in zip(self.cache, out[1:]):
                cache[start:start + len(ids)] = new
        return out[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pte", type=Path)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--chunk", type=int, default=32, help="rows of one prefill call (both runtimes)")
    parser.add_argument("--library", help="the shared library (default: where the Python package finds it)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    if args.library:
        os.environ["DLX_LIBRARY"] = args.library
    native, official = Native(args.pte, args.threads), Official(args.pte, args.threads)
    columns = native.model.facts.vocab_size
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, columns, (args.context + args.rows,), generator=generator).tolist()
    for p in range(0, args.context, args.chunk):
        part = ids[p:min(p + args.chunk, args.context)]
        native.forward(part, p, p, True, None, 0)
        official.forward(part, p, p, True)
    block = ids[args.context:]
    mine = torch.empty(args.rows, columns)
    times = {"native": [], "official": []}
    for i in range(args.repeats + 1):
        for name in ("native", "official"):
            time.sleep(0.02)
            begin = time.perf_counter()
            if name == "native":
                native.forward(block, args.context, args.context, False, mine, 0)
            else:
                theirs = official.forward(block, args.context, args.context, False)
            if i:
                times[name].append((time.perf_counter() - begin) * 1e3)
    difference = float((mine - theirs).abs().max() / theirs.abs().max())
    report = {"file": args.pte.name, "rows": args.rows, "context": args.context, "threads": args.threads,
              "native_ms_min": min(times["native"]), "native_ms_median": statistics.median(times["native"]),
              "official_ms_min": min(times["official"]), "official_ms_median": statistics.median(times["official"]),
              "relative_difference": difference}
    report["ratio_min"] = report["official_ms_min"] / report["native_ms_min"]
    report["ratio_median"] = report["official_ms_median"] / report["native_ms_median"]
    if args.json:
        print(json.dumps(report))
        return
    print(f"{report['file']}: {args.rows} rows behind {args.context} cached, {args.threads} threads, {args.repeats} turns each")
    for name in ("native", "official"):
        print(f"  {name:9s} min {report[name + '_ms_min']:8.1f} ms   median {report[name + '_ms_median']:8.1f} ms")
    print(f"  official / native: {report['ratio_min']:.2f} (min), {report['ratio_median']:.2f} (median); logits differ by "
          f"{difference:.1e} of their range")


if __name__ == "__main__":
    main()
