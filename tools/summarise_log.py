#!/usr/bin/env python3
"""What a step's log says, for scripts/test.sh: one line with counts, then a line for everything that was not tested.

usage: summarise_log.py LOG

Understands ctest and pytest; of a build the steps, of the demo the puzzles, of other logs the last line that sums up what a check did.
"""
import collections
import re
import sys
from pathlib import Path

CTEST = re.compile(r"^(\d+)% tests passed(?:, (\d+) tests? failed)? out of (\d+)$", re.M)
NO_CTEST = re.compile(r"^No tests were found!!!$", re.M)
NOT_RUN = re.compile(r"^The following tests did not run:\n((?:[ \t]+\d+ - .*\n?)+)", re.M)
LEFT_OUT = re.compile(r"^(?:SKIPPED: |not run on this CPU: ).*$", re.M)
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+|no tests ran) in [\d.]+s.*$", re.M)
PYTEST_SKIP = re.compile(r"^SKIPPED \[(\d+)\] (\S+?)(?::\d+)?: (.*)$", re.M)
CHECK = re.compile(r"^\w+: .*\d.*(?:follow|exists).*$", re.M)
PUZZLES = re.compile(r"^\S.*? (\d+) +(\d+) +[\d.]+ % +[\d.]+ +[\d.]+ +[\d.]+$", re.M)
NINJA = re.compile(r"^\[(\d+)/(\d+)\] ", re.M)


def of_ctest(text):
    """The last run of the log; others may stand in the output of its tests."""
    end = list(CTEST.finditer(text))[-1]
    failed, total = (int(n or 0) for n in end.group(2, 3))
    block = NOT_RUN.search(text, end.start())
    not_run = [line.split(" - ", 1)[1].strip() for line in block[1].splitlines()] if block else []
    total += sum("(Disabled)" in test for test in not_run)  # ctest leaves these out of its total
    line = f"{total - failed - len(not_run)} of {total} passed"
    if failed:
        line += f", {failed} failed"
    reasons = sorted(set(LEFT_OUT.findall(text)))
    skipped = [r for r in reasons if r.startswith("SKIPPED")]
    if not_run:
        line += f", {len(not_run)} not run: " + ", ".join(not_run)
    if not_run and len(skipped) < len(not_run):
        reasons.append("some of these do not say why")
    return [line, *(r.removeprefix("SKIPPED: ") for r in reasons)]


def of_pytest(text):
    """All runs of the log together."""
    counts = collections.Counter()
    for n, what in re.findall(r"(\d+) (\w+)", " ".join(PYTEST.findall(text))):
        counts[what] += int(n) if "warning" not in what else 0
    line = ", ".join(f"{counts[what]} {what}" for what in counts if counts[what])
    return [line or "0 passed", *(f"{n} skipped: {why} ({where})" for n, where, why in PYTEST_SKIP.findall(text))]


def summarise(text):
    """Lines; the first has the counts and may be empty."""
    if CTEST.search(text):
        return of_ctest(text)
    if PYTEST.search(text):
        return of_pytest(text)
    if NO_CTEST.search(text):
        return ["0 of 0 passed"]
    checks = [m[0] for m in CHECK.finditer(text)]
    if checks:
        return [checks[-1]]
    solved = [tuple(map(int, m)) for m in PUZZLES.findall(text)]
    if solved:
        return [f"{sum(n for _, n in solved)} of {sum(n for n, _ in solved)} puzzles solved"]
    steps = NINJA.findall(text)
    return [f"{steps[-1][0]} of {steps[-1][1]} steps" if steps else ""]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    print("\n".join(summarise(Path(sys.argv[1]).read_text(errors="replace"))))
