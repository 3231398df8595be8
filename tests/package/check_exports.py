"""The shared library exports exactly the functions that its public headers declare, and all of them are dlx_*."""
import argparse
import pathlib
import re
import subprocess
import sys


def declared(headers, without):
    """Names of the DLX_API functions of all headers but those in `without`."""
    names = set()
    for header in sorted(pathlib.Path(headers).glob("*.h")):
        if header.name in without:
            continue
        text = re.sub(r"/\*.*?\*/", " ", header.read_text(encoding="utf-8"), flags=re.S)
        text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
        names.update(re.findall(r"\bDLX_API\b[^;(]*?\b(\w+)\s*\(", text))
    return names


def exported(nm, library):
    output = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in output.splitlines() if line.strip()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--library", required=True)
    parser.add_argument("--headers", required=True)
    parser.add_argument("--without", action="append", default=[], help="header whose functions this build leaves out")
    args = parser.parse_args()

    want = declared(args.headers, args.without)
    have = exported(args.nm, args.library)
    problems = [f"{name}: declared in a public header, not exported" for name in sorted(want - have)]
    problems += [f"{name}: exported, but in no public header" for name in sorted(have - want)]
    problems += [f"{name}: public function without the prefix dlx_" for name in sorted(want) if name[:4] != "dlx_"]
    if not want:
        problems.append(f"{args.headers}: no DLX_API declaration found")
    print("\n".join(problems) or f"{len(want)} functions declared and exported")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
