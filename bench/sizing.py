#!/usr/bin/env python3
"""What models of published shapes take, before they are there: exports each shape to int8, with weights that are holes of
the files, and asks `diffulex-edge inspect` for the memory of sessions with several bounds. The table is that in
docs/PERFORMANCE.md, between the marks.

usage: sizing.py [--shapes 0.5b,1.5b,...] [--check | --write]

  --check   compare the rows of these shapes with docs/PERFORMANCE.md; exit status 1 when one differs
  --write   put the table there (all shapes)

Needs the release build, and free disk for the largest program: 9 GB for 8b. Nothing is timed.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "PERFORMANCE.md"
BEGIN, END = "<!-- sizing: begin (bench/sizing.py --write) -->", "<!-- sizing: end -->"
POSITIONS = 8192  # of the programs; sessions may be bounded below
CONTEXTS = (512, 2048, 8192)
CACHES = ("float32", "float16", "int8")
ROWS = (8, 32, 256)

# name: (what it is, options of make_checkpoint)
SHAPES = {
    "0.5b": ("0.5B: 24 layers of 896, Qwen2.5's", "--family fast_dllm_v2 --hidden 896 --layers 24 --heads 14 --kv-heads 2 "
             "--head-dim 64 --intermediate 4864"),
    "1.5b": ("1.5B: Fast-dLLM v2", "--family fast_dllm_v2 --size 1.5b"),
    "4b": ("4B: SDAR", "--family sdar --size 4b"),
    "8b": ("8B: SDAR", "--family sdar --size 8b"),
    "llada-8b": ("8B: LLaDA", "--family llada --size 8b --positions 8192"),
    "tiny": ("tiny: SDAR, for tests", "--family sdar --size tiny --positions 8192"),
}
PUBLISHED = ("0.5b", "1.5b", "4b", "8b", "llada-8b")


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def megabytes(n):
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB" if n >= 1e7 else f"{n / 1e6:.1f} MB"


def measure(name, build):
    """{key: memory object of inspect} for every combination of bounds; 'file_bytes' is the program's size."""
    cli = build / "cli" / "diffulex-edge"
    with tempfile.TemporaryDirectory(prefix="dlx-sizing-") as folder:
        checkpoint, program = Path(folder) / "checkpoint", Path(folder) / "model.pte"
        run(build / "tools" / "make_checkpoint", *SHAPES[name][1].split(), "--weights", "zero", checkpoint)
        run(cli, "export", "--hf-model-path", checkpoint, "--output-path", program, "--quantization", "int8-dynamic",
            "--max-seq-len", POSITIONS)
        sizes = {"file_bytes": program.stat().st_size}
        for kv in CACHES:
            for rows in ROWS:
                for context in CONTEXTS:
                    out = json.loads(run(cli, "inspect", program, "--json", "--max-rows", rows, "--max-context", context,
                                         "--kv-cache", kv))
                    memory = out["memory"]
                    assert (memory["max_rows"], memory["max_context"], memory["kv_type"]) == (rows, context, kv), memory
                    sizes[kv, rows, context] = memory
        return sizes


def several(values):
    return " / ".join(megabytes(v) for v in values)


def row_of(name, sizes):
    """The cells of one shape."""
    fixed = sizes["float32", ROWS[0], CONTEXTS[0]]
    cells = [SHAPES[name][0], megabytes(sizes["file_bytes"]),
             megabytes(fixed["total"] - fixed["kv_cache"] - fixed["activations"]),
             several(sizes["float32", rows, CONTEXTS[1]]["activations"] for rows in ROWS)]
    cells += [several(sizes[kv, 32, context]["kv_cache"] for context in CONTEXTS) for kv in CACHES]
    cells += [several(sizes["float32", 32, context]["total"] for context in CONTEXTS)]
    return "| " + " | ".join(cells) + " |"


def heading():
    contexts = " / ".join(map(str, CONTEXTS))
    cells = ["shape", "int8 program", "model", f"activations: {' / '.join(map(str, ROWS))} rows",
             f"KV cache: {contexts} positions", *(f"the same, {kv}" for kv in CACHES[1:]), f"all together, 32 rows: {contexts} positions"]
    return "| " + " | ".join(cells) + " |\n|" + " --- |" * len(cells)


def table_of_page():
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", default=",".join(PUBLISHED))
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    args = parser.parse_args()
    names = args.shapes.split(",")
    unknown = [n for n in names if n not in SHAPES]
    if unknown:
        parser.error(f"no shape {unknown[0]}; there are {', '.join(SHAPES)}")
    _, inside, _ = table_of_page()
    rows, differ = [], 0
    print(heading(), flush=True)
    for name in names:
        rows.append(row_of(name, measure(name, args.build)))
        print(rows[-1], flush=True)
        if args.check and rows[-1] not in inside.splitlines():
            differ += 1
            print(f"{name}: docs/PERFORMANCE.md has another row", file=sys.stderr)
    if args.write:
        before, _, after = table_of_page()  # again: measuring takes long, and somebody may have written in the page
        PAGE.write_text(f"{before}{BEGIN}\n{heading()}\n" + "\n".join(rows) + f"\n{END}{after}", encoding="utf-8")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
