#!/usr/bin/env python3
"""The cost of a pass, on paper: bytes and operations by rows, context, family and scheme, and from these the time on a machine
of which four numbers are known. Prints the tables of docs/PERFORMANCE.md between the marks: the model against what was measured,
and predictions for devices that were not at hand.

usage: cost.py [--check | --write]

  --check   compare with docs/PERFORMANCE.md; exit status 1 when it differs
  --write   put the tables there

Nothing is measured here. One pass of r rows behind c cached positions, L layers, P weights in linear layers (head included):

  read      P * bytes of a weight + c * bytes of a position's keys and values
  products  2 * P * r, of bytes (of floats where activations are)
  attention 4 * L * heads * head_dim * r * (c + r), of floats
  rest      r * L * (intermediate + 6 * hidden) elements: norms, rotations, SiLU, sums, quantisation

  linear    = ((read / bandwidth)^3 + (products / (0.9 * rate))^3)^(1/3): the slower of the two, a quarter more where they
              are equal; 0.8 with weights of 4 bits
  attention / (0.8 * float rate), rest * CYCLES / lanes / (cores * clock)
"""
import argparse
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "PERFORMANCE.md"
BEGIN, END = "<!-- cost: begin (bench/cost.py --write) -->", "<!-- cost: end -->"
CYCLES = 36  # of a core for one vector of elements in what is neither linear nor attention (perf, Zen 5, AVX-512)

# layers, hidden, intermediate, heads, kv heads, head_dim, vocabulary
SHAPES = {
    "Fast-dLLM v2 1.5B": (28, 1536, 8960, 12, 2, 128, 151936),
    "SDAR 4B": (36, 2560, 9728, 32, 8, 128, 151936),
    "LLaDA 8B": (32, 4096, 12288, 32, 32, 128, 126464),
}
BYTES = {"int8": 1.0, "int4-g32": 0.5625, "fp16": 2.0}  # of a weight; scales of rows are few
REACHED = {"int8": 0.9, "int4-g32": 0.8, "fp16": 0.9}   # of the rate of products: widening 4 bits takes some of it

# GB/s, operations of bytes and of floats a second (1e9), cores * clock in GHz, float lanes of a vector. For what was measured
# these are what `bench` says there. For the others: published memory transfers * width * 0.75, what reading gets of them (0.4 on
# the Raspberry Pi 4 and 0.6 on RK3588, where people measured that); cores * clock * twice the products a cycle that bench/predict.py
# has for such a core; cores * clock * two operations a lane * pipes.
MEASURED = {
    "Zen 5, AVX-512 VNNI, 2 cores": (48, 2095, 525, 2 * 4.1, 16),
    "Zen 4, AVX-512 VNNI, 2 cores": (33, 933, 233, 2 * 3.65, 16),
}
DEVICES = {
    "Raspberry Pi 4: 4 Cortex-A72, 1.8 GHz, LPDDR4-3200, 32 bits":
        (12.8 * 0.4, 4 * 1.8 * 2 * 6, 4 * 1.8 * 8, 4 * 1.8, 4),
    "Raspberry Pi 5: 4 Cortex-A76, 2.4 GHz, LPDDR4X-4267, 32 bits":
        (17.1 * 0.75, 4 * 2.4 * 2 * 32, 4 * 2.4 * 16, 4 * 2.4, 4),
    "RK3588 (Orange Pi 5, Rock 5): 4 Cortex-A76, 2.4 GHz, LPDDR4X-4224, 64 bits":
        (33.8 * 0.6, 4 * 2.4 * 2 * 32, 4 * 2.4 * 16, 4 * 2.4, 4),
    "Snapdragon 8 Gen 3: Cortex-X4 3.3 GHz, 3 Cortex-A720 3.2 GHz, LPDDR5X-9600, 64 bits":
        (76.8 * 0.75, (3.3 + 3 * 3.2) * 2 * 64, (3.3 * 2 + 3 * 3.2) * 16, 12.9, 4),
    "Laptop: 4 Golden Cove cores with AVX-VNNI, 4.0 GHz, DDR5-4800, 128 bits":
        (76.8 * 0.75, 4 * 4.0 * 2 * 63, 4 * 4.0 * 32, 4 * 4.0, 8),
}
# ms, medians of bench/run.py and `bench`: 1.5B, 512 cached, logits of all rows.
TIMES = {
    ("Zen 5, AVX-512 VNNI, 2 cores", "int8"): {1: 34, 8: 39, 32: 76, 256: 532},
    ("Zen 4, AVX-512 VNNI, 2 cores", "int8"): {1: 50, 8: 59, 32: 153, 256: 1187},
    ("Zen 4, AVX-512 VNNI, 2 cores", "int4-g32"): {1: 33, 8: 49, 32: 162, 256: 1306},
}
ROWS = (1, 8, 32, 256)


def weights(shape):
    layers, hidden, intermediate, heads, kv_heads, dim, vocabulary = SHAPES[shape]
    layer = hidden * dim * (2 * heads + 2 * kv_heads) + 3 * hidden * intermediate
    return layers * layer + hidden * vocabulary


def milliseconds(machine, shape, scheme, rows, cached):
    bandwidth, products, floats, clock, lanes = machine
    layers, hidden, intermediate, heads, kv_heads, dim, _ = SHAPES[shape]
    read = weights(shape) * BYTES[scheme] + cached * layers * kv_heads * dim * 2 * 4
    rate = floats if scheme == "fp16" else products
    by_memory, by_products = read / (bandwidth * 1e9), 2 * weights(shape) * rows / (REACHED[scheme] * rate * 1e9)
    attention = 4 * layers * heads * dim * rows * (cached + rows) / (0.8 * floats * 1e9)
    rest = rows * layers * (intermediate + 6 * hidden) * CYCLES / lanes / (clock * 1e9)
    return 1e3 * ((by_memory ** 3 + by_products ** 3) ** (1 / 3) + attention + rest)


def tables():
    lines = ["| machine, scheme: on paper / measured, ms | " + " | ".join(f"{r} rows" if r > 1 else "1 row" for r in ROWS) + " |",
             "| --- |" + " --- |" * len(ROWS)]
    for (name, scheme), times in TIMES.items():
        cells = []
        for r in ROWS:
            paper = milliseconds(MEASURED[name], "Fast-dLLM v2 1.5B", scheme, r, 512)
            cells.append(f"{paper:.0f} / {times[r]} ({paper / times[r]:.2f})")
        lines.append(f"| {name}, {scheme} | " + " | ".join(cells) + " |")
    lines += ["", "**Predicted**, ms a pass behind 512 positions (LLaDA: all 512 rows without a cache cost 16 times those of 32):", "",
              "| device | 1.5B int8: 1 / 8 / 32 rows | 1.5B int4-g32: 1 / 8 / 32 rows | 8B int4-g32: 8 / 32 rows | tokens/s, 1.5B int4, "
              "blocks of 32, 2.2 a pass |", "| --- | --- | --- | --- | --- |"]
    for name, machine in DEVICES.items():
        def cell(shape, scheme, rows):
            return " / ".join(f"{milliseconds(machine, shape, scheme, r, 512):.0f}" for r in rows)
        speed = 2.2e3 / milliseconds(machine, "Fast-dLLM v2 1.5B", "int4-g32", 32, 512)
        lines.append(f"| {name} | {cell('Fast-dLLM v2 1.5B', 'int8', (1, 8, 32))} | {cell('Fast-dLLM v2 1.5B', 'int4-g32', (1, 8, 32))} | "
                     f"{cell('LLaDA 8B', 'int4-g32', (8, 32))} | {speed:.1f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    text = tables()
    if not args.check and not args.write:
        print(text)
        return
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    old, _, tail = rest.partition(END)
    if args.write:
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    elif old.strip() != text:
        sys.exit("docs/PERFORMANCE.md has other tables; bench/cost.py --write puts these there")


if __name__ == "__main__":
    main()
