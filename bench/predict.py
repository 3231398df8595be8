"""predict.py [BUILD ...]: how many products a cycle the inner loops of the kernels could reach on CPUs that are not at hand, by llvm-mca's model of their cores: a loop that finds all its data in the first-level cache. These are
predictions; bench_kernels measures.

BUILD: build folders (default: this tree's build/release, and build/aarch64 and build/wasm if they are there). Needs objdump and llvm-mca of any
version; aarch64-linux-gnu-objdump for Arm's, llvm-objdump for WebAssembly's, whose operators are counted and no core is asked.
Prints the tables of docs/PERFORMANCE.md.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = "src/CMakeFiles/dlx_kernels.dir/kernels"  # below a build folder: their objects

# Object of a kernel set; rows and columns of its largest tile; cores.
SETS = {
    "avx2": (6, 16, ("haswell", "skylake", "znver2", "znver3")),
    "avxvnni": (6, 16, ("alderlake",)),
    "avx512": (8, 32, ("skylake-avx512",)),
    "avx512vnni": (8, 32, ("icelake-server",)),
    "amx": (32, 32, ("sapphirerapids",)),
    "neon": (8, 8, ("cortex-a53", "cortex-a72")),
    "neon_dotprod": (8, 8, ("cortex-a55", "cortex-a76", "neoverse-n1")),
    "neon_i8mm": (8, 8, ("neoverse-n2", "cortex-a510")),
}
DOT = r"vpmaddubsw|vpdpbusd|\bsdot\b|\bsmmla\b|\bsmull2?\b|\bsmlal2?\b|tdpbusd"
# No version of llvm-mca has this instruction's time. Intel's Optimization Reference Manual gives its throughput.
TILE_PRODUCTS, TILE_CYCLES = 16 * 16 * 64, 16

# Sets with kernels of floats (others take theirs from these); rows and lanes of their tiles; cores.
FLOAT_SETS = {
    "avx2": (6, 8, ("haswell", "skylake", "alderlake", "znver3")),
    "avx512": (8, 16, ("skylake-avx512", "icelake-server")),
    "neon": (8, 4, ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n2")),
}
FLOAT_TILES = {"weights float32": "f32_tile_F32W", "float16": "f32_tile_F16W", "bfloat16": "f32_tile_BF16W",
               "int8 with float rows": "f32_tile_I8W", "attention: scores": "panel_score_tile", "float32 values": "f32_value_tile",
               "float16 values": "f16_value_tile", "int8 values": "kv8_value_tile"}
FUSED = r"vfmadd\w+ps|\bfmla\b"

WASM_DOT = "i32x4.dot_i16x8_s"  # 8 products


def functions(program, path):
    """{name: [(address, instruction)]} of an object file."""
    text = subprocess.run([program, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    found = {}
    for block in text.split("\n\n"):
        head, _, body = block.strip().partition("\n")
        name = re.search(r"<(\w+)>:$", head)
        if name:
            lines = [line.split("\t", 1) for line in body.splitlines() if "\t" in line]
            found[name[1]] = [(a.strip(" :"), t.strip().replace("\t", " ")) for a, t in lines]
    return found


def inner_loop(instructions, dot=DOT):
    """The loop with the most products of all that have no other loop within."""
    place = {address: i for i, (address, _) in enumerate(instructions)}
    loops = []
    for i, (_, text) in enumerate(instructions):
        jump = re.match(r"(?:j\w+|b\.\w+|cbnz\s+\w+,)\s*([0-9a-f]+)", text)
        if jump and place.get(jump[1], i) < i:
            loops.append((place[jump[1]], i))
    inner = [(b, e) for b, e in loops if not any((b, e) != (c, f) and b <= c and f <= e for c, f in loops)]
    bodies = [[re.sub(r"\s*(//|#|<).*", "", text) for _, text in instructions[b:e]] for b, e in inner]
    return max(bodies, key=lambda body: sum(bool(re.search(dot, text)) for text in body))


def wasm_functions(program, path):
    """{name: [operator]} of an object file of WebAssembly."""
    text = subprocess.run([program, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    found = {}
    for block in re.split(r"\n(?=[0-9a-f]+ <)", text):
        name = re.match(r"[0-9a-f]+ <(\w+)>:", block)
        if name:
            found[name[1]] = re.findall(r"^\s*[0-9a-f]+:\s+([a-z][\w.]*)", block, re.MULTILINE)
    return found


def wasm_loop(operators):
    """What computes or reads in the loop with the most products of all that have no other loop within."""
    bodies, depth, begins = [], 0, {}
    for i, operator in enumerate(operators):
        if operator in ("block", "if", "loop"):
            depth += 1
            begins[depth] = i if operator == "loop" else None
        elif operator.startswith("end") and depth:
            if begins[depth] is not None and "loop" not in operators[begins[depth] + 1:i]:
                bodies.append(operators[begins[depth] + 1:i])
            depth -= 1
    loop = max(bodies, key=lambda body: body.count(WASM_DOT))
    return [o for o in loop if not re.match(r"local\.|\w+\.const|block|end", o)]


def rows_of_wasm(build):
    path = build / KERNELS / "simd128.c.obj"
    program = shutil.which("llvm-objdump")
    if not program or not path.exists():
        return
    found, cells = wasm_functions(program, path), []
    for kind in ("qc8", "qc4"):
        loop = wasm_loop(found[f"{kind}_tile_4"])
        cells += [f"{len(loop) / loop.count(WASM_DOT) * 8:.1f}", "-"]
    yield "simd128", "WebAssembly", cells


def predict(mca, loop, triple, core):
    """Cycles of an iteration, or None where this llvm-mca does not know the core or an instruction."""
    done = subprocess.run([mca, f"-mtriple={triple}", f"-mcpu={core}", "-iterations=200"], input="\n".join(loop) + "\n",
                          capture_output=True, text=True)
    cycles = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if not cycles or "not a recognized processor" in done.stderr:
        return None
    return int(cycles[1]) / 200


def functions_of(build, name):
    """Of the object of a set, and the machine that it is for; None where it is not there."""
    path = build / KERNELS / f"{name}.c.o"
    arm = name.startswith("neon")
    program = shutil.which("aarch64-linux-gnu-objdump" if arm else "objdump")
    # e_machine of the ELF header: other machines' sets are empty objects.
    if not program or not path.exists() or path.read_bytes()[18] != (0xB7 if arm else 0x3E):
        return None, None
    return functions(program, path), "aarch64-linux-gnu" if arm else "x86_64-linux-gnu"


def float_rows_of(build, mca):
    for name, (rows, lanes, cores) in FLOAT_SETS.items():
        found, triple = functions_of(build, name)
        for core in cores if found else ():
            cells = []
            for tile in FLOAT_TILES.values():
                loop = inner_loop(found[f"{tile}_{rows}"], FUSED)
                products = lanes * sum(bool(re.search(FUSED, text)) for text in loop)
                cycles = predict(mca, loop, triple, core)
                cells.append(f"{len(loop) / products * 64:.1f} / " + (f"{products / cycles:.0f}" if cycles else "-"))
            yield name, core, cells


def rows_of(build, mca):
    for name, (rows, columns, cores) in SETS.items():
        found, triple = functions_of(build, name)
        if not found:
            continue
        if name == "amx":  # its products of int4 are those of avx512vnni
            loop = inner_loop(found["qc8_two"])
            products = TILE_PRODUCTS * sum("tdpbusd" in text for text in loop)
            yield name, cores[0], [f"{len(loop) / products * 64:.2f}", f"{TILE_PRODUCTS // TILE_CYCLES} (published)", "-", "-"]
            continue
        lanes = columns // 2  # a tile has two vectors of columns
        per_dot = {"vpmaddubsw": 4 * lanes, "vpdpbusd": 4 * lanes, "sdot": 16, "smmla": 32, "smull": 8, "smlal": 8}
        for core in cores:
            cells = []
            for kind in ("qc8", "qc4"):
                loop = inner_loop(found[f"{kind}_tile_{rows}"])
                dots = sum(bool(re.search(DOT, text)) for text in loop)
                products = dots * next(n for word, n in per_dot.items() if any(word in text for text in loop))
                cycles = predict(mca, loop, triple, core)
                cells += [f"{len(loop) / products * 64:.1f}", f"{products / cycles:.0f}" if cycles else "-"]
            yield name, core, cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="*", type=Path)
    builds = parser.parse_args().build
    if not builds:
        others = [ROOT / "build" / name for name in ("aarch64", "wasm")]
        builds = [ROOT / "build/release", *(build for build in others if build.exists())]
    for build in builds:
        if not (build / KERNELS).is_dir():
            parser.error(f"{build} has no compiled kernels: no {build / KERNELS}")
    tools = [str(p) for folder in ("/usr/bin", "/usr/local/bin") for p in Path(folder).glob("llvm-mca*")]
    if not tools:
        sys.exit("predict.py needs llvm-mca: apt install llvm")
    mca = max(tools, key=lambda t: int((re.findall(r"\d+$", t) or ["0"])[0]))
    print("| set | core | int8: instructions for 64 products | products a cycle | int4: instructions | products a cycle |")
    print("| --- | --- | --- | --- | --- | --- |")
    for build in builds:
        for name, core, cells in (*rows_of(build, mca), *rows_of_wasm(build)):
            print(f"| {name} | {core} | " + " | ".join(cells) + " |")
    print("\n| set | core | " + " | ".join(FLOAT_TILES) + " |\n| --- | --- |" + " --- |" * len(FLOAT_TILES))
    for build in builds:
        for name, core, cells in float_rows_of(build, mca):
            print(f"| {name} | {core} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
