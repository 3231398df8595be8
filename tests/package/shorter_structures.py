"""Writes the public headers of an older version of the library: every structure that begins with struct_size has lost its
last member. They go to OUT/include; OUT/structures.h names those structures, so that a new one without a test does not
compile:

    #define SHORTER_STRUCTURES(X) X(dlx_memory, activations) ...    type, last member of the real structure
"""
import argparse
import pathlib
import re
import sys

# Structures whose layout never changes; include/diffulex_edge/diffulex_edge.h says so.
FIXED = {"dlx_accepted", "dlx_allocator", "dlx_error", "dlx_row_summary", "dlx_span"}
STRUCTURE = re.compile(r"typedef struct (\w+) \{\n(.*?)\} \1;", re.S)


def members(body):
    """[(begin, end, text)] of the declarations of a structure: offsets in `body`, and the text without comments."""
    blank = re.sub(r"/\*.*?\*/", lambda m: " " * len(m.group(0)), body, flags=re.S)
    found, begin = [], 0
    for match in re.finditer(";", blank):
        found.append((begin, match.end(), " ".join(blank[begin:match.start()].split())))
        begin = match.end()
    return found


def last_name(declaration):
    """"int32_t a, b[N]" -> "b"; "void (*f)(int)" -> "f"."""
    pointer = re.search(r"\(\*(\w+)\)", declaration)
    return pointer[1] if pointer else re.findall(r"(\w+)(?:\[\w+\])?$", declaration)[0]


def shorten(text, known):
    """The header without the last members; their names go into `known` {structure: member}."""
    def cut(match):
        name, body = match.groups()
        parts = members(body)
        if parts[0][2] != "size_t struct_size":
            if name not in FIXED:
                raise ValueError(f"{name} begins with '{parts[0][2]}'; a public structure begins with 'size_t "
                                 "struct_size', or its layout is fixed and said to be so")
            return match.group(0)
        if len(parts) < 2:
            raise ValueError(f"{name} has no member but struct_size")
        begin, _, declaration = parts[-1]
        known[name] = last_name(declaration)
        return f"typedef struct {name} {{\n{body[:begin]}\n}} {name};"
    return STRUCTURE.sub(cut, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=pathlib.Path, required=True, help="folder of the real headers")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    args = parser.parse_args()
    known = {}
    shorter = args.out / "include" / "diffulex_edge"
    shorter.mkdir(parents=True, exist_ok=True)
    try:
        for header in sorted(args.headers.glob("*.h")):
            text = shorten(header.read_text(encoding="utf-8"), known)
            (shorter / header.name).write_text(text, encoding="utf-8")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    rows = " \\\n".join(f"    X({name}, {member})" for name, member in sorted(known.items()))
    (args.out / "structures.h").write_text(f"#define SHORTER_STRUCTURES(X) \\\n{rows}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
