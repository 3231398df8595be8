#!/usr/bin/env python3
"""Do the tests notice when the code is wrong? Changes single tokens of src/ and cli/, and runs the tests against each change.

  mutate.py list      the mutants that a campaign takes
  mutate.py weave     puts all of them into one copy of the tree, as switches, and builds it (below build/mutation)
  mutate.py run       weaves when something changed, then runs the tests; goes on where it was interrupted
  mutate.py report    the table and the survivors

A campaign takes about an hour on two cores. Mutants are chosen by a hash of themselves: a change of the tree leaves the others
as they are. docs/TEST_PLAN.md has the results; tools/mutants_equivalent.txt lists mutants that change nothing one could
observe, with the reason.
"""
import argparse
import json
import os
import re
import sys
from pathlib import Path

from mutation.campaign import Campaign, default_python
from mutation.sites import sample
from mutation.weave import Workshop

COUNT, LEAST, SEED = 300, 10, 1


def say(text):
    print(text, flush=True)


def equivalents(path):
    """key -> reason, from lines `file | source line | before -> after | reason`."""
    found = {}
    if path.is_file():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            key, bar, reason = line.rpartition(" | ")
            if not bar or key.count(" | ") < 2:
                raise SystemExit(f"{path}:{number}: expected `file | source line | before -> after | reason`")
            found[key] = reason
    return found


def load_plan(shop):
    path = shop.folder / "plan.json"
    return json.loads(path.read_text()) if path.is_file() else None


def fresh_plan(shop, args):
    """The plan of the woven copy, which is made again when the tree or the choice changed."""
    plan = load_plan(shop)
    if plan and (plan["count"], plan["seed"], plan.get("files")) == (args.count, args.seed, args.file):
        class Key:
            def __init__(self, key):
                self.key = key
        if plan["digest"] == shop.digest([Key(m["key"]) for m in plan["mutants"]]):
            return plan
    return shop.weave(args.count, LEAST, args.seed, args.jobs, say, args.file)


def chosen(plan, args):
    numbers = range(1, len(plan["mutants"]) + 1)
    if args.only:
        numbers = [int(n) for n in args.only.split(",")]
    return [n for n in numbers if not args.room or plan["mutants"][n - 1]["room"] in args.room]


def table(plan, results, equivalent):
    """Lines of the table by room, and what lived."""
    rooms, lived, same = {}, [], []
    for number, m in enumerate(plan["mutants"], 1):
        row = rooms.setdefault(m["room"], dict.fromkeys(("all", "ctest", "pytest", "lived", "same", "open"), 0))
        row["all"] += 1
        r = results.get(m["key"])
        if r and r["killed"]:
            row[r["killed"]["kind"]] += 1
            if m["key"] in equivalent:
                say(f"warning: listed as equivalent, but {r['killed']['by']} kills it: {m['key']}")
        elif m["key"] in equivalent:
            row["same"] += 1
            same.append((number, m))
        elif r:
            row["lived"] += 1
            lived.append((number, m, r))
        else:
            row["open"] += 1
    total = {k: sum(row[k] for row in rooms.values()) for k in ("all", "ctest", "pytest", "lived", "same", "open")}
    out = ["| room | mutants | killed by ctest | by pytest | equivalent | survived | killed of the others |",
           "| --- | --: | --: | --: | --: | --: | --: |"]
    for room, row in [*sorted(rooms.items()), ("all", total)]:
        killed, able = row["ctest"] + row["pytest"], row["all"] - row["same"] - row["open"]
        share = f"{100 * killed / able:.1f} %" if able else "-"
        out.append(f"| {room} | {row['all']} | {row['ctest']} | {row['pytest']} | {row['same']} | {row['lived']} | {share} |")
    killed = total["ctest"] + total["pytest"]
    run = total["all"] - total["open"]
    out.append("")
    out.append(f"{killed} of {run} mutants killed ({100 * killed / max(run, 1):.1f} %), {total['same']} equivalent, "
               f"{total['lived']} survived, {total['open']} not run.")
    return out, lived, same


def report(shop, plan, args, equivalent):
    campaign = Campaign(shop, plan, args.python, args.jobs, say, args.under, args.tests)
    out, lived, same = table(plan, campaign.results(), equivalent)
    for line in out:
        say(line)
    if lived:
        say("\nSurvived:")
    for number, m, r in lived:
        reach = f"reached by {r['tests']} tests" if r["tests"] else "reached by no test"
        say(f"{number:4} {m['file']}:{m['line']} ({m['function']}, {reach})\n     {m['key'].split(' | ', 1)[1]}")
    if same:
        say("\nEquivalent:")
    for number, m in same:
        say(f"{number:4} {m['file']}:{m['line']} {m['before']} -> {m['after']}: {equivalent[m['key']]}")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "weave", "run", "report"))
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--count", type=int, default=COUNT, help=f"about so many mutants (default {COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"another seed chooses others (default {SEED})")
    parser.add_argument("--room", action="append", help="only mutants of this room, e.g. text/full; can be repeated")
    parser.add_argument("--file", action="append", metavar="PATTERN", help="take all mutants from such files, e.g. "
                        "'src/quant/*'; can be repeated. A campaign of its own, for what was written since the last one")
    parser.add_argument("--tests", metavar="EXPRESSION", help="run only tests whose names it matches")
    parser.add_argument("--only", help="only these numbers, e.g. 3,17")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--python", help="with pytest and the packages of tests/requirements-core.txt; default: "
                        "build/venv/bin/python, or the one that runs this")
    parser.add_argument("--no-pytest", action="store_true", help="ctest alone")
    parser.add_argument("--under", type=float, metavar="SECONDS", help="leave out tests that take longer: a quick look at "
                        "what may survive")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    args = parser.parse_args(argv)
    args.root = args.root.resolve()
    if args.tests:
        re.compile(args.tests)
    args.python = None if args.no_pytest else args.python or default_python(args.root)
    return args


def main(argv=None):
    args = parse(argv)
    shop = Workshop(args.root, args.root / "build" / "mutation")
    shop.folder.mkdir(parents=True, exist_ok=True)
    if args.command == "list":
        sites, _ = shop.all_sites(args.file)
        for s in sample(sites, args.count, LEAST, args.seed):
            if not args.room or s.room in args.room:
                say(f"{s.file}:{s.line}: {s.what}")
        return 0
    if args.command == "report":
        plan = load_plan(shop)
        if not plan:
            raise SystemExit("no campaign has been run here: tools/mutate.py run")
    else:
        plan = fresh_plan(shop, args)
    if args.command == "run":
        campaign = Campaign(shop, plan, args.python, args.jobs, say, args.under, args.tests)
        if args.fresh:
            campaign.results_file.unlink(missing_ok=True)
        campaign.run(chosen(plan, args))
    if args.command in ("run", "report"):
        report(shop, plan, args, equivalents(args.root / "tools" / "mutants_equivalent.txt"))
    return 0


if __name__ == "__main__":
    os.nice(10)
    sys.exit(main())
