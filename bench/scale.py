#!/usr/bin/env python3
"""Published sizes, for real: writes a random checkpoint, exports it to int8, and decodes with it. Prints wall time and
peak resident memory of each step, the numbers in docs/PERFORMANCE.md. With --schemes it exports to each of them instead,
one after the other, and prints a table of sizes, processor time and peak memory.

usage: scale.py [--family fast_dllm_v2 --size 1.5b | --family llada --size 8b | ...] [--folder DIR] [--keep]
                [--schemes all|NAME,NAME:ROUNDING,...] [--samples N --length N]

--samples and --length are of the calibration that int8-static and most roundings need: token ids at random.
Needs the release build and free disk: 5 GB for 1.5b, 25 GB for 8b; with --schemes 10 and 50 GB, for float32 is one.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A command failed; what it printed."""


def measured(*command):
    """(output, wall seconds, processor seconds, peak MiB) of a command."""
    begin = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        raise Failed(output)
    return output, time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def run(what, *command):
    """Runs a command; prints its time and peak memory."""
    try:
        output, wall, _, peak = measured(*command)
    except Failed as error:
        sys.exit(f"{what} failed:\n{error}")
    print(f"{what:34s} {wall:8.1f} s   peak {peak:8.1f} MiB resident", flush=True)
    return output


def schemes_of(cli, word):
    """The schemes that were asked for: names, or all that the program knows."""
    if word != "all":
        return word.split(",")
    sys.path.insert(0, str(ROOT / "python"))
    os.environ.setdefault("DLX_BUILD_DIR", str(cli.parent.parent))
    from diffulex_edge import export_schemes
    return [scheme.name for scheme in export_schemes()]


def calibration(path, vocabulary, samples, length):
    """A file of random ids, the second half of each sample an answer."""
    rng = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(samples):
            ids = [rng.randrange(vocabulary // 2) for _ in range(length)]
            print(json.dumps({"ids": ids, "answer_start": length // 2}), file=out)


def export_all(args, cli, checkpoint, program):
    """One row of a table for each scheme; the program is removed behind each. Peak memory is what the export says of
    itself: a child of Python never shows less than Python had."""
    data, failed = program.with_suffix(".calibration.jsonl"), False
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    print("| scheme | program | processor time | wall time | peak resident memory |\n| --- | --- | --- | --- | --- |", flush=True)
    for word in schemes_of(cli, args.schemes):
        scheme, _, rounding = word.partition(":")
        more = ["--rounding", rounding] if rounding else []
        if scheme == "int8-static" or rounding not in ("", "nearest", "mse"):
            calibration(data, vocabulary, args.samples, args.length)
            more += ["--calibration", data, "--calibration-samples", args.samples, "--calibration-length", args.length]
        try:
            output, wall, processor, _ = measured(cli, "export", checkpoint, program, "--quantization", scheme,
                                                  "--max-seq-len", args.max_seq_len, "--json", *more)
        except Failed as error:     # a shape that the scheme does not take is no reason to leave out the others
            failed = True
            print(f"| `{word}` | {str(error).strip().splitlines()[-1]} | | | |", flush=True)
            continue
        said = json.loads(output[output.index("{"):])
        print(f"| `{word}` | {said['file_bytes'] / 1e9:.2f} GB | {processor:.1f} s | {wall:.1f} s | "
              f"{said['peak_memory_bytes'] / 2**20:.0f} MiB |", flush=True)
        program.unlink()
        data.unlink(missing_ok=True)
    return int(failed)


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
    parser.add_argument("--schemes", help="all, or names: export to each of them, and nothing else")
    parser.add_argument("--samples", type=int, default=64, help="of calibration")
    parser.add_argument("--length", type=int, default=256, help="of a sample")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    args = parser.parse_args()

    folder = args.folder or Path(tempfile.mkdtemp(prefix="dlx-scale-"))
    folder.mkdir(exist_ok=True)
    checkpoint, program = folder / f"{args.family}-{args.size}", folder / f"{args.family}-{args.size}.pte"
    cli = args.build / "cli/diffulex-edge"
    try:
        if not checkpoint.exists():
            run("random checkpoint", args.build / "tools/make_checkpoint", "--family", args.family, "--size", args.size, checkpoint)
        if args.schemes:
            return export_all(args, cli, checkpoint, program)
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
    sys.exit(main())
