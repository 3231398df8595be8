#!/usr/bin/env python3
"""What a step's log says, for scripts/test.sh: one line with counts, then a line for everything that was not tested.

usage: summarise_log.py LOG

Understands ctest and pytest; of other logs the last line that sums up what a check did.
"""
import re
import sys
from pathlib import Path

CTEST = re.compile(r"^(\d+)% tests passed(?:, (\d+) tests? failed)? out of (\d+)$", re.M)
NOT_RUN = re.compile(r"^The following tests did not run:\n((?:[ \t]+\d+ - .*\n?)+)", re.M)
LEFT_OUT = re.compile(r"^(?:SKIPPED: |not run on this CPU: ).*$", re.M)
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s.*$", re.M)
PYTEST_SKIP = re.compile(r"^SKIPPED \[(\d+)\] (\S+?)(?::\d+)?: (.*)$", re.M)
CHECK = re.compile(r"^\w+: .*(?:follow|exists).*$", re.M)


def of_ctest(text):
    failed, total = (int(n or 0) for n in CTEST.search(text).group(2, 3))
    block = NOT_RUN.search(text)
    not_run = [line.split(" - ", 1)[1].strip() for line in block[1].splitlines()] if block else []
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
    counts = [c for c in PYTEST.findall(text)[-1].split(", ") if "warning" not in c]
    return [", ".join(counts), *(f"{n} skipped: {why} ({where})" for n, where, why in PYTEST_SKIP.findall(text))]


def summarise(text):
    """Lines; the first has the counts and may be empty."""
    if CTEST.search(text):
        return of_ctest(text)
    if PYTEST.search(text):
        return of_pytest(text)
    checks = [m[0] for m in CHECK.finditer(text)]
    return [checks[-1] if checks else ""]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    print("\n".join(summarise(Path(sys.argv[1]).read_text(errors="replace"))))
