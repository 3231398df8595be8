#!/usr/bin/env python3
"""What the presets cost and what they are worth: held-out questions, without a preset and with each one.

Runs `diffulex-edge eval --json` for all of them in turn, round after round, so that a busy neighbour or a falling clock
hits all of them; questions and answers are the same in every round, only the times differ. Prints a table in Markdown:
exact answers, passes an answer, tokens a pass, and the median of the rounds' milliseconds a token.

usage: presets.py model.pte held-out.jsonl [--count N] [--rounds 5] [--threads N] [--presets none,exact,balanced,fast]
                  [--program PATH] [--json] [-- decode options]

What follows `--` goes to every run: `-- --max-new-tokens 48 --block-length 48` is what demo/sudoku6-llada needs.
Runs of one thread count only compare with each other. Give a busy machine no other work, or quote no times.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

import heldout
from heldout import DEFAULT_PROGRAM, cores, positive, processor

PRESETS = ("none", "exact", "balanced", "fast")
SAME_IN_ALL_ROUNDS = ("questions", "right", "passes", "tokens")


def evaluate(args, preset, options):
    preset_options = [] if preset == "none" else ["--preset", preset]
    return heldout.evaluate(args.program, args.pte, args.questions, preset_options + options, args.count, args.threads,
                            f"presets.py: {preset}")


def measure(args, options):
    """{preset: [result of every round]}"""
    results = {preset: [] for preset in args.presets}
    for turn in range(args.rounds):
        for preset in args.presets:
            print(f"round {turn + 1} of {args.rounds}: {preset}", file=sys.stderr)
            results[preset].append(evaluate(args, preset, options))
    for preset, rounds in results.items():
        for key in SAME_IN_ALL_ROUNDS:
            if len({r[key] for r in rounds}) > 1:
                raise SystemExit(f"presets.py: {preset}: the rounds disagree on {key}: {[r[key] for r in rounds]}")
    return results


def summarise(rounds):
    first = rounds[0]
    times = [r["ms_per_token"] for r in rounds]
    return {"questions": first["questions"], "right": first["right"], "accuracy": first["accuracy"],
            "passes_per_answer": first["passes"] / first["questions"], "tokens_per_pass": first["tokens_per_pass"],
            "ms_per_token": statistics.median(times), "ms_per_token_least": min(times), "ms_per_token_most": max(times)}


def put_table(rows):
    print("| preset | exact answers | passes an answer | tokens a pass | ms a token (median) | least to most |")
    print("| --- | --- | --- | --- | --- | --- |")
    for preset, r in rows.items():
        print(f"| {preset} | {100 * r['accuracy']:.1f} % | {r['passes_per_answer']:.2f} | {r['tokens_per_pass']:.2f} | "
              f"{r['ms_per_token']:.3f} | {r['ms_per_token_least']:.3f} to {r['ms_per_token_most']:.3f} |")


def preset_names(text):
    names = text.split(",")
    for name in names:
        if name not in PRESETS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(PRESETS)}")
    return names


def main():
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[:own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="Decode options for every run follow behind --.")
    parser.add_argument("pte", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--count", type=positive, help="only the first N questions")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=cores())
    parser.add_argument("--presets", type=preset_names, default=list(PRESETS), help="some of none,exact,balanced,fast")
    parser.add_argument("--program", default=DEFAULT_PROGRAM)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(own)

    results = measure(args, options)
    rows = {preset: summarise(rounds) for preset, rounds in results.items()}
    some = results[args.presets[0]][0]
    machine = {"file": args.pte.name, "options": options, "processor": processor(), "kernels": some["kernels"],
               "threads": args.threads, "rounds": args.rounds}
    if args.json:
        print(json.dumps({"machine": machine, "presets": rows}))
        return
    put_table(rows)
    print(f"\n{args.pte.name}, {some['questions']} questions of {args.questions.name}, {args.rounds} rounds"
          + (f", {' '.join(options)}" if options else ""))
    print(f"{machine['processor']}, kernels {machine['kernels']}, {args.threads} threads")


if __name__ == "__main__":
    main()
