#!/usr/bin/env python3
"""Checks the text of every file that git knows or would add: white space, line and function lengths, and that nothing
in src/ prints, exits or aborts."""
import argparse
import re
import subprocess
import sys
from pathlib import Path

TEXT = {".c", ".h", ".py", ".sh", ".md", ".js", ".css", ".html", ".cmake", ".txt", ".in", ".json", ".toml", ".yml", ".cfg"}
NAMES = {"CMakeLists.txt", "LICENSE", ".clang-format", ".editorconfig", ".gitignore", "run"}
DATA = ("tests/data/", "tests/fuzz/corpus/", "demo/")  # recorded bytes keep their shape
MAX_LINE = 120  # C only
MAX_FILE = 800
MAX_FUNCTION = 80
LOUD = re.compile(r"(?<![\w.>])(printf|fprintf|vprintf|vfprintf|puts|putchar|fputs|perror|exit|_exit|abort)\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def strip_comments(text):
    """The C text with comments and string literals blanked, line numbers kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def check_c(name, text):
    problems = []
    lines = text.splitlines()
    if len(lines) > MAX_FILE:
        problems.append(f"{name}: {len(lines)} lines, at most {MAX_FILE}: split it by stage of the data flow")
    start = None
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            problems.append(f"{name}:{number}: {len(line)} columns, at most {MAX_LINE}")
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > MAX_FUNCTION:
                problems.append(f"{name}:{start}: function of {number - start - 1} lines, at most {MAX_FUNCTION}")
            start = None
    if name.startswith("src/"):
        for number, line in enumerate(strip_comments(text).splitlines(), 1):
            match = LOUD.search(line)
            if match:
                problems.append(f"{name}:{number}: the library calls {match.group(1)}(); return a dlx_status instead")
    return problems


def check_file(name, data):
    if b"\0" in data:
        return [f"{name}: NUL byte in a text file"]
    text = data.decode("utf-8", errors="replace")
    problems = []
    if "\ufffd" in text:
        problems.append(f"{name}: not UTF-8")
    if text and not text.endswith("\n"):
        problems.append(f"{name}: no newline at the end")
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith("\r"):
            problems.append(f"{name}:{number}: carriage return")
        elif line != line.rstrip():
            problems.append(f"{name}:{number}: white space at the end of the line")
        if "\t" in line:
            problems.append(f"{name}:{number}: tab")
        if UNFINISHED.search(line) and not name.endswith("check_style.py"):
            problems.append(f"{name}:{number}: unfinished work is marked: {line.strip()[:60]}")
    if Path(name).suffix in (".c", ".h"):
        problems += check_c(name, text)
    return problems


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    args = parser.parse_args(argv)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=args.root,
                            check=True, capture_output=True).stdout.decode("utf-8").split("\0")
    names = [n for n in sorted(set(listed)) if n and not n.startswith(DATA)
             and (Path(n).suffix in TEXT or Path(n).name in NAMES) and (args.root / n).is_file()]
    if not names:
        print(f"{args.root}: no files to check")
        return 1
    problems = [p for n in names for p in check_file(n, (args.root / n).read_bytes())]
    print("\n".join(problems) or f"style: {len(names)} files follow the rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
