#!/usr/bin/env python3
"""Checks who includes whom, and draws the picture of it in docs/ARCHITECTURE.md.

ROOMS is the one table: for every folder of src/, which other folders, public headers and third libraries its files may
include. Everything that is not in the table is a violation. `--write` renews the picture between the two markers of
docs/ARCHITECTURE.md; without it, a picture that differs from the table is a violation too.
"""
import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple


class Room(NamedTuple):
    half: str  # "export", "run", or "both"
    may: tuple  # rooms of src/
    public: tuple  # headers of include/diffulex_edge
    third: tuple  # headers of third libraries
    what: str  # for the picture


ALL_PUBLIC = ("allocator.h", "bench.h", "completion.h", "constraint.h", "decode.h", "diffulex_edge.h", "export.h", "fixed.h", "method.h",
              "model.h", "status.h", "system.h", "text.h", "threads.h")
JSON = ("jansson.h",)
TEXT = ("jansson.h", "pcre2.h", "utf8proc.h")

# A room may include itself. Order: from the top of the picture to its bottom.
ROOMS = {
    "api": Room("both", ("engine", "export", "runtime", "diffusion", "constrain", "constrain/full", "text", "text/full", "format", "graph", "kernels", "base"),
                ALL_PUBLIC, (), "what crosses folders: completions, inspect, versions"),
    "export": Room("export", ("calibrate", "model", "quant", "solve", "backends", "text", "text/full", "format/json", "format", "graph",
                              "base"),
                   ("decode.h", "export.h", "model.h", "status.h", "text.h"), JSON, "checkpoint folder to .pte"),
    "calibrate": Room("export", ("model", "quant", "solve", "runtime", "kernels", "text", "text/full", "format/json", "format",
                                 "graph", "base"),
                      ("decode.h", "status.h", "text.h"), JSON, "measures a checkpoint by its layers"),
    "backends": Room("export", ("quant", "format", "graph", "base"), (), (), "graph to delegate payload"),
    "quant": Room("export", ("solve", "format", "graph", "kernels", "base"), (), (), "gives weights their forms"),
    "solve": Room("export", ("kernels", "base"), (), (), "finds quantised weights: GPTQ, AWQ"),
    "model": Room("export", ("format/json", "format", "graph", "base"), ("decode.h", "status.h"), JSON,
                  "families: config and tensors to graph"),
    "engine": Room("run", ("runtime", "format", "graph", "kernels", "base"),
                   ("allocator.h", "decode.h", "fixed.h", "method.h", "model.h", "status.h", "threads.h"), (),
                   "models, sessions and methods"),
    "runtime": Room("run", ("kernels", "format", "graph", "base"), (), (), "raise, fuse, plan, execute"),
    "kernels": Room("run", ("base",), (), (), "reference and SIMD loops"),
    "diffusion": Room("run", ("constrain", "base"), ("constraint.h", "decode.h", "status.h"), (), "schedules, samplers, blocks"),
    "constrain/full": Room("run", ("constrain", "format/json", "base"), ("decode.h", "status.h"), JSON,
                           "JSON schemas to expressions"),
    "constrain": Room("run", ("base",), ("decode.h", "status.h"), (), "expressions as automata over tokens"),
    "text/full": Room("run", ("text", "format/json", "format", "base"), ("decode.h", "status.h", "system.h", "text.h"),
                      TEXT, "Hugging Face tokenizer files, encoding"),
    "text": Room("run", ("format", "base"), ("decode.h", "status.h", "text.h"), (), "decoding, conversations, chat templates"),
    "graph": Room("both", ("format", "base"), (), (), "values, nodes, shapes, verifier"),
    "format/json": Room("both", ("format", "base"), ("decode.h", "status.h"), JSON, "formats that contain JSON"),
    "format": Room("both", ("base",), ("decode.h", "status.h"), (), ".pte, FlatBuffers, payloads, safetensors"),
    "base": Room("both", (), ("allocator.h", "decode.h", "status.h", "threads.h"), (), "status, arena, checked sizes, files, threads"),
}

# The halves meet in graph/ and format/ only, with three exceptions: a tokenizer is packed into the .pte, solvers compute
# with the run half's kernels, and calibration runs the graph that model/ builds on the executor of runtime/, over texts.
CROSSINGS = {("export", "text"), ("export", "text/full"), ("solve", "kernels"), ("quant", "kernels"),
             ("calibrate", "runtime"), ("calibrate", "kernels"), ("calibrate", "text"), ("calibrate", "text/full")}

# Headers that a room must not see although it may see their folder: diffusion/ knows no tensors, files or threads.
FORBIDDEN = {"diffusion": ("base/io.h", "base/threads.h", "base/half.h", "base/dtype.h", "pthread.h", "threads.h")}

# Folders that see the public headers and their own files, nothing of src/. tests/, tools/ and bench/ may see all.
CLIENTS = ("cli", "server", "python", "examples")

# What a client sees of another one: the command `serve` is the server's, through one header.
DOORS = {"cli": ("server.h",)}

# Parts that a runtime-only build leaves out; what it keeps must not reach them unless the line is guarded.
FULL_ONLY = ("export", "calibrate", "backends", "quant", "solve", "model", "text/full", "constrain/full", "format/json")
GUARD = "DLX_RUNTIME_ONLY"

STANDARD = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype""".split())
SYSTEM = re.compile(r"(sys/\w+|pthread|unistd|fcntl|dirent|dlfcn|sched|strings|poll|getopt|termios|cpuid|immintrin|x86intrin"
                    r"|arm_neon|wasm_simd128|asm/hwcap|linux/\w+)\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
IF = re.compile(r"^\s*#\s*(ifdef|ifndef|if|else|elif|endif)\b(.*)")
BEGIN = "<!-- layers: begin (tools/check_layers.py --write) -->"
END = "<!-- layers: end -->"


def room_of(relative):
    """The room of a path below src/: the longest name of the table that is a folder of it."""
    folder = Path(relative).parent
    while folder != Path("."):
        if folder.as_posix() in ROOMS:
            return folder.as_posix()
        folder = folder.parent
    return None


def check_table():
    """The table itself keeps the rules that docs/ARCHITECTURE.md states."""
    problems = []
    order = list(ROOMS)
    for name, room in ROOMS.items():
        for other in room.may:
            if other not in ROOMS:
                problems.append(f"table: {name} may include {other}, which is no room")
                continue
            if name == other or (order.index(other) < order.index(name)):
                problems.append(f"table: the arrow {name} -> {other} points upwards")
            halves = {room.half, ROOMS[other].half}
            if halves == {"export", "run"} and (name, other) not in CROSSINGS:
                problems.append(f"table: {name} -> {other} joins the export half and the run half")
    return problems


def includes(path):
    """Yields (line number, '<' or '"', header, guarded) of a C file; guarded: absent from a runtime-only build."""
    guards = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        condition = IF.match(line)
        if condition:
            word, rest = condition.groups()
            if word in ("if", "ifdef", "ifndef"):
                negated = word == "ifndef" or re.search(r"!\s*(defined\b\s*\(?\s*)?" + GUARD, rest)
                guards.append(bool(GUARD in rest and negated))
            elif word in ("else", "elif") and guards:
                guards[-1] = False
            elif word == "endif" and guards:
                guards.pop()
            continue
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2), any(guards)


def is_system(header):
    return (header.endswith(".h") and header[:-2] in STANDARD) or SYSTEM.fullmatch(header) is not None


def check_src_include(room_name, room, root, path, quote, header, guarded):
    """What is wrong with one include line of a file of src/, or None."""
    if header in FORBIDDEN.get(room_name, ()):
        return f"{room_name}/ must not know {header}"
    if header.startswith("diffulex_edge/"):
        if header.removeprefix("diffulex_edge/") not in room.public:
            return f"{room_name}/ may not include the public header {header}"
        return None
    if quote == "<":
        if is_system(header) or header in room.third:
            return None
        return f"{room_name}/ may not include <{header}>"
    if ".." in Path(header).parts or not (root / "src" / header).exists():
        near = (path.parent / header).resolve()
        if near.exists() and near.is_relative_to(root / "src"):
            return f'write the path below src/: "{near.relative_to(root / "src").as_posix()}"'
        return f'"{header}" does not exist below src/'
    target = room_of(header)
    if target is None:
        return f'"{header}" lies in no room of the table'
    if target != room_name and target not in room.may:
        allowed = ", ".join(room.may) or "nothing"
        return f"the arrow {room_name} -> {target} is not in the table (it may include: {allowed})"
    if target in FULL_ONLY and room_name not in FULL_ONLY and not guarded:
        return f"{target} is absent from a runtime-only build: put the line under #ifndef {GUARD}"
    return None


def check_client_include(root, path, client, quote, header):
    """What is wrong with one include line of a client, or None. Third libraries are its own affair."""
    own = quote == '"' and ".." not in header and (any(True for _ in (root / client).rglob(header)) or header in DOORS.get(client, ()))
    if header.startswith("diffulex_edge/") or own or (quote == "<" and not (root / "src" / header).exists()):
        return None
    return f"{client}/ sees include/diffulex_edge and its own files, not {header}"


def check_tree(root):
    problems = []
    for path in sorted((root / "src").rglob("*.[ch]")):
        room_name = room_of(path.relative_to(root / "src"))
        if room_name is None:
            problems.append(f"{path.relative_to(root)}: lies in no room of the table")
            continue
        for number, quote, header, guarded in includes(path):
            problem = check_src_include(room_name, ROOMS[room_name], root, path, quote, header, guarded)
            if problem:
                problems.append(f"{path.relative_to(root)}:{number}: {problem}")
    for path in sorted((root / "include").rglob("*.h")):
        for number, quote, header, _ in includes(path):
            if not is_system(header) and not header.startswith("diffulex_edge/"):
                problems.append(f"{path.relative_to(root)}:{number}: a public header may not include \"{header}\"")
    for client in CLIENTS:
        for path in sorted((root / client).rglob("*.[ch]")):
            for number, quote, header, _ in includes(path):
                problem = check_client_include(root, path, client, quote, header)
                if problem:
                    problems.append(f"{path.relative_to(root)}:{number}: {problem}")
    return problems


def box(lines, width):
    edge = "+" + "-" * (width - 2) + "+"
    return [edge] + [f"| {line:<{width - 4}} |" for line in lines] + [edge]


def entry(name, width):
    """A room's lines in the picture: what it is, and what it may include."""
    room = ROOMS[name]
    below = ", ".join(room.may + tuple(f"<{header[:-2]}>" for header in room.third)) or "nothing"
    lines = [f"{name + '/':<12} {room.what}"]
    lines += textwrap.wrap(below, width, initial_indent=" " * 13 + "-> ", subsequent_indent=" " * 16)
    too_long = [line for line in lines if len(line) > width]
    assert not too_long, f"does not fit the picture, shorten it: {too_long}"
    return lines


def picture():
    """The table as text: two columns for the halves, full-width boxes for what they share."""
    half_width, gap = 57, 2
    full_width = 2 * half_width + gap

    def column(title, half):
        rooms = [name for name, room in ROOMS.items() if room.half == half]
        return [title] + [line for name in rooms for line in entry(name, half_width - 4)]

    left, right = column("EXPORT HALF", "export"), column("RUN HALF", "run")
    height = max(len(left), len(right))
    left += [""] * (height - len(left))
    right += [""] * (height - len(right))
    shared = [name for name, room in ROOMS.items() if room.half == "both" and name != "api"]
    out = box([f"{', '.join(c + '/' for c in CLIENTS)}: include/diffulex_edge/*.h and nothing else"], full_width)
    out += box(entry("api", full_width - 4), full_width)
    out += [a + " " * gap + b for a, b in zip(box(left, half_width), box(right, half_width))]
    out += box([line for name in shared for line in entry(name, full_width - 4)], full_width)
    return "\n".join(out)


def check_picture(document, write):
    """Compares the picture in the document with the table; `write` renews it."""
    if not document.exists():
        return [f"{document.name}: missing"]
    text = document.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        return [f"{document.name}: expected the markers {BEGIN} and {END} once each"]
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    want = f"{head}{BEGIN}\n```\n{picture()}\n```\n{END}{tail}"
    if want == text:
        return []
    if write:
        document.write_text(want, encoding="utf-8")
        return []
    return [f"{document.name}: the picture differs from the table; run tools/check_layers.py --write"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--write", action="store_true", help="renew the picture in docs/ARCHITECTURE.md")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    problems = check_table() + check_tree(root) + check_picture(root / "docs" / "ARCHITECTURE.md", args.write)
    print("\n".join(problems) or "layers: every include follows the table")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
