#!/usr/bin/env python3
"""One sequence, two builds: milliseconds of a forward pass by number of rows, the builds taking turns call by call.

Each build runs in a process of its own, with its own source tree's Python package, on the same .pte; while one computes,
the other waits for its turn. Prints the minimum and median of each and the ratio after / before: below 1 the second tree
is faster. The logits of both are compared too.

usage: compare_builds.py model.pte --before TREE --after TREE [--rows 1 2 4 8 16 32 64 128 256] [--context 512]
                         [--threads 2] [--repeats 15] [--json]

TREE is a source tree with a build in build/release.
"""
import argparse
import json
import statistics
from pathlib import Path

from heldout import positive
from turns import Worker


def build_of(tree, args):
    """A process with that tree's package and library."""
    tree = tree.resolve()
    return Worker("native", args.pte, args.threads, args.context, environment={
        "PYTHONPATH": str(tree / "python"), "DLX_BUILD_DIR": str(tree / "build" / "release"), "DLX_LIBRARY": ""})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pte", type=Path)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--rows", type=positive, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--repeats", type=positive, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    builds = {"before": build_of(args.before, args), "after": build_of(args.after, args)}
    report = []
    for rows in args.rows:
        times, digests = {name: [] for name in builds}, {}
        for turn in range(args.repeats + 1):
            order = list(builds) if turn % 2 else list(builds)[::-1]
            for name in order:
                said = builds[name].ask(rows, args.context, digest=True)
                digests[name] = said["digest"]
                if turn:
                    times[name].append(said["ms"])
        low = {name: min(t) for name, t in times.items()}
        middle = {name: statistics.median(t) for name, t in times.items()}
        report.append({"rows": rows, "before_ms_min": low["before"], "after_ms_min": low["after"],
                       "before_ms_median": middle["before"], "after_ms_median": middle["after"],
                       "ratio_min": low["after"] / low["before"], "ratio_median": middle["after"] / middle["before"],
                       "same_bits": digests["before"] == digests["after"]})
        if not args.json:
            r = report[-1]
            print(f"{rows:4d} rows   before {low['before']:9.2f} ms  after {low['after']:9.2f} ms   after / before "
                  f"{r['ratio_min']:.3f} (min) {r['ratio_median']:.3f} (median)   "
                  f"{'same bits' if r['same_bits'] else 'other bits'}", flush=True)
    for build in builds.values():
        build.close()
    if args.json:
        print(json.dumps({"file": args.pte.name, "kernels": builds["after"].about["kernels"], "threads": args.threads,
                          "context": args.context, "passes": report}))


if __name__ == "__main__":
    main()
