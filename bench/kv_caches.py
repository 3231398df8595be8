#!/usr/bin/env python3
"""What caches of fewer bits do to answers: held-out questions with each type of cache, the same decode otherwise.

usage: kv_caches.py model.pte held-out.jsonl [--count N] [--threads N] [--caches float32,float16,int8] [--json]
                    [-- option=value ...]

What follows `--` are decode options: `-- preset=fast max_new_tokens=48 block_length=48` is what demo/sudoku6-llada needs.
Prints a table in Markdown: exact answers, passes, answers whose tokens differ from those with the first cache, questions
that only one of the two gets right, and how likely so uneven a split is by chance (exact McNemar test, two-sided).
Needs the release build (PYTHONPATH=python). Times nothing: answers are the same on any machine and for every number of
threads.
"""
import argparse
import json
import sys
from pathlib import Path

from diffulex_edge import Model

from heldout import paired, questions_of


def answers(model, questions, kv_type, options):
    """[(whether it is right, ids, passes)] of each question."""
    found = []
    with model.session(kv_type=kv_type) as session:
        for number, (prompt, answer) in enumerate(questions):
            session.truncate(0)
            ids = model.prompt_ids(prompt, chat=False) if isinstance(prompt, str) else model.prompt_ids(prompt)
            done = session.complete(ids, options=options)
            found.append((str(done).rstrip() == answer.rstrip(), done.generation.output_ids, done.statistics.forwards - done.statistics.prefill_forwards))
            if sys.stderr.isatty():
                print(f"\r{kv_type}: {number + 1} of {len(questions)} ", end="", file=sys.stderr)
    return found


def compare(base, other):
    wrong, wrong_other = ([i for i, (right, _, _) in enumerate(found) if not right] for found in (base, other))
    return {"right": len(other) - len(wrong_other), "passes": sum(passes for _, _, passes in other),
            "other_tokens": sum(a[1] != b[1] for a, b in zip(base, other)), **paired(wrong, wrong_other)}


def option_of(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise SystemExit(f"kv_caches.py: '{text}' is no decode option; expected name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main():
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[:own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="Decode options, name=value, follow behind --.")
    parser.add_argument("pte", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--count", type=int, default=0, help="only the first N questions")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--caches", type=lambda text: text.split(","), default=["float32", "float16", "int8"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(own)

    decode = dict(map(option_of, options))
    questions = list(questions_of(args.questions, args.count))
    with Model(args.pte, threads=args.threads) as model:
        found = {kv_type: answers(model, questions, kv_type, decode) for kv_type in args.caches}
        memory = {kv_type: model.memory(kv_type=kv_type).kv_cache for kv_type in args.caches}
    first = found[args.caches[0]]
    rows = {kv_type: {**compare(first, each), "kv_cache": memory[kv_type]} for kv_type, each in found.items()}
    if args.json:
        print(json.dumps({"file": args.pte.name, "questions": len(questions), "options": decode, "caches": rows}))
        return
    print(f"{args.pte.name}, {len(questions)} questions" + (f", {' '.join(options)}" if options else ""))
    print(f"| cache | bytes | right | passes | other tokens | right with {args.caches[0]} only, with this only | p |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kv_type, r in rows.items():
        print(f"| {kv_type} | {r['kv_cache']} | {r['right']} | {r['passes']} | {r['other_tokens']} | "
              f"{r['only_first_right']}, {r['only_this_right']} | {r['p']:.2f} |")


if __name__ == "__main__":
    main()
