#!/usr/bin/env python3
"""Published sizes, for real: writes a random checkpoint, exports it to int8, and decodes with it. Prints wall time and
peak resident memory of each step, the numbers in docs/PERFORMANCE.md.

usage: scale.py [--family fast_dllm_v2 --size 1.5b | --family llada --size 8b | ...] [--folder DIR] [--keep]

Needs the release build and free disk: 5 GB for 1.5b, 25 GB for 8b.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(what, *command):
    """Runs a command; prints its time and peak memory."""
    begin = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{what} failed:\n{output}")
    print(f"{what:34s} {time.monotonic() - begin:8.1f} s   peak {usage.ru_maxrss / 1024:8.1f} MiB resident", flush=True)
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="fast_dllm_v2")
    parser.add_argument("--size", default="published")
    parser.add_argument("--max-seq-len", type=int, default=1024)
    parser.add_argument("--prompt", type=int, default=32, help="prompt tokens")
    parser.add_argument("--new", type=int, default=64, help="new tokens")
    parser.add_argument("--options", default="", help="decode options for generate, e.g. '--algorithm llada.generate --steps 2'")
    parser.add_argument("--folder", type=Path, help="where checkpoint and program lie (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    args = parser.parse_args()

    folder = args.folder or Path(tempfile.mkdtemp(prefix="dlx-scale-"))
    folder.mkdir(exist_ok=True)
    checkpoint, program = folder / f"{args.family}-{args.size}", folder / f"{args.family}-{args.size}.pte"
    cli = args.build / "cli/diffulex-edge"
    try:
        if not checkpoint.exists():
            run("random checkpoint", args.build / "tools/make_checkpoint", "--family", args.family, "--size", args.size, checkpoint)
        print(run("export int8-dynamic", cli, "export", "--hf-model-path", checkpoint, "--output-path", program,
                  "--quantization", "int8-dynamic", "--max-seq-len", args.max_seq_len), end="")
        ids = ",".join(str(37 * i % 1000) for i in range(args.prompt))
        print(run(f"generate, {args.new} tokens, with loading", cli, "generate", program, "--token-ids", ids, "--max-new-tokens",
                  args.new, "--stats", *args.options.split()).strip().split("\n")[-1])
    finally:
        if not args.keep:
            shutil.rmtree(checkpoint, ignore_errors=True)
            program.unlink(missing_ok=True)
            if not args.folder:
                folder.rmdir()


if __name__ == "__main__":
    main()
