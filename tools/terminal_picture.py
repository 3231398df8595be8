#!/usr/bin/env python3
"""A picture (SVG) of what a command shows on a terminal, for the README.

usage: terminal_picture.py [--columns 80] [--lines 24] [--wait SECONDS | --wait-for REGEX] OUTPUT.svg COMMAND...

Runs the command in tmux, waits until the text is on the screen (or for some seconds), and draws the screen. Needs tmux
and rich (pip install rich).
"""
import argparse
import re
import shlex
import subprocess
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

SESSION = "terminal-picture"


def tmux(*args):
    return subprocess.run(["tmux", "-L", SESSION, *args], capture_output=True, text=True, check=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--lines", type=int, default=24)
    parser.add_argument("--wait", type=float, default=2.0)
    parser.add_argument("--wait-for", metavar="REGEX", help="what the screen shows in the end")
    parser.add_argument("--title", default="diffulex-edge")
    parser.add_argument("output", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()

    shell = f"export LC_ALL=C.UTF-8; clear; {shlex.join(args.command)}; sleep 1000"
    tmux("new-session", "-d", "-x", str(args.columns), "-y", str(args.lines), "bash", "-c", shell)
    try:
        end = time.monotonic() + (60 if args.wait_for else args.wait)
        while time.monotonic() < end and not (args.wait_for and re.search(args.wait_for, tmux("capture-pane", "-p"), re.S)):
            time.sleep(0.005)
        screen = tmux("capture-pane", "-e", "-p").rstrip("\n")
    finally:
        tmux("kill-server")
    console = Console(record=True, width=args.columns, file=open("/dev/null", "w"))
    for line in screen.split("\n"):
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title=args.title)
    # Fonts come from the reader's machine, not from the network.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    args.output.write_text("\n".join(line.rstrip() for line in svg.split("\n")) + "\n")


if __name__ == "__main__":
    main()
