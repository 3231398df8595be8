#!/usr/bin/env python3
"""Do tests/unit/test_null_arguments*.c have a row for every public function that can fail? Compares the functions of the
headers that return dlx_status with the rows of the tests."""
import argparse
import re
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headers", required=True, type=Path, help="folder of the public headers")
    parser.add_argument("--tests", required=True, type=Path, nargs="+", help="the C tests with their rows")
    options = parser.parse_args()
    headers = "\n".join(path.read_text() for path in sorted(options.headers.glob("*.h")))
    can_fail = set(re.findall(r"DLX_API\s+dlx_status\s+(dlx_\w+)\s*\(", headers))
    tests = "\n".join(path.read_text() for path in options.tests)
    rows = re.findall(r"^\s*ROW\((dlx_\w+)\),", tests, re.MULTILINE)
    if not can_fail:
        sys.exit(f"no function was found in {options.headers}")
    problems = [f"{name} returns dlx_status and has no row in the tests" for name in sorted(can_fail - set(rows))]
    problems += [f"{name} has a row and is no public function that can fail" for name in sorted(set(rows) - can_fail)]
    problems += [f"{name} has two rows" for name in sorted(set(rows)) if rows.count(name) > 1]
    print("\n".join(problems) or f"{len(rows)} functions, each with a row")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
