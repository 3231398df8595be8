#!/usr/bin/env python3
"""Writes src/text/jinja/unicode_tables.h from what this Python's str knows about characters.

    python3 tools/make_unicode_tables.py > src/text/jinja/unicode_tables.h
"""
import sys
import unicodedata

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
FINAL_SIGMA = "\u03c2"


def cased(c):
    """Whether a capital sigma behind it ends a word. Python does not say which characters it goes by; asked, it shows."""
    return ("1" + c + "\u03a3").lower()[-1] == FINAL_SIGMA


def ignorable(c):
    """Whether it is skipped on the way to the letter before a sigma."""
    return not cased(c) and ("A" + c + "\u03a3").lower()[-1] == FINAL_SIGMA


CLASSES = [("alpha", str.isalpha), ("decimal", str.isdecimal), ("digit", str.isdigit), ("numeric", str.isnumeric),
           ("upper", str.isupper), ("lower", str.islower), ("title", lambda c: unicodedata.category(c) == "Lt"),
           ("printable", str.isprintable), ("cased", cased), ("ignorable", ignorable)]
CASES = [("upper", str.upper), ("lower", str.lower), ("title", str.title)]


def borders(predicate):
    result, inside, expected = [], False, 0
    for c in SCALARS:
        if ord(c) != expected and inside:  # the gap of the surrogates
            result.append(expected)
            inside = False
        expected = ord(c) + 1
        if predicate(c) != inside:
            result.append(ord(c))
            inside = not inside
    if inside:
        result.append(0x110000)
    return result


def print_list(items, line=""):
    for item in items:
        if len(line) + len(item) + 2 > 117:
            print("    " + line.rstrip())
            line = ""
        line += item + ", "
    if line:
        print("    " + line.rstrip())


def runs(pairs):
    """[first, last, step, difference] of consecutive characters with the same difference."""
    result = []
    for c, difference in pairs:
        if result:
            run = result[-1]
            step = c - run[1]
            if run[3] == difference and step in (1, 2) and (run[0] == run[1] or step == run[2]):
                run[1], run[2] = c, step
                continue
        result.append([c, c, 1, difference])
    return result


def main():
    print("/* Written by tools/make_unicode_tables.py from Python %d.%d, Unicode %s. */" % (
        *sys.version_info[:2], unicodedata.unidata_version))
    print("#ifndef DLX_TEXT_JINJA_UNICODE_TABLES_H\n#define DLX_TEXT_JINJA_UNICODE_TABLES_H\n")
    print("#include <stddef.h>\n#include <stdint.h>\n")
    print("/* clang-format off */")
    for name, predicate in CLASSES:
        print("static const uint32_t class_%s[] = {" % name)
        print_list("0x%X" % b for b in borders(predicate))
        print("};\n")
    print("/* Each class: characters from every even border up to the odd one behind it. */")
    print("static const struct {\n    const uint32_t *borders;\n    size_t n;\n} classes[] = {")
    for name, _ in CLASSES:
        print("    {class_%s, sizeof class_%s / sizeof class_%s[0]}," % (name, name, name))
    print("};\n")
    print("typedef struct special_case {\n    uint32_t from, to[3];\n} special_case;\n")
    print("typedef struct case_run {\n    uint32_t first, last, step;\n    int32_t difference;\n} case_run;\n")
    for name, function in CASES:
        single, special = [], []
        for c in SCALARS:
            to = function(c)
            if len(to) > 1:
                special.append("{0x%X, {%s}}" % (ord(c), ", ".join("0x%X" % ord(d) for d in to)))
            elif to != c:
                single.append((ord(c), ord(to) - ord(c)))
        print("static const special_case special_%s[] = {" % name)
        print_list(special)
        print("};\n")
        print("static const case_run runs_%s[] = {" % name)
        print_list("{0x%X, 0x%X, %d, %d}" % tuple(run) for run in runs(single))
        print("};\n")
    for kind, prefix in (("special_case", "special"), ("case_run", "runs")):
        print("static const struct {\n    const %s *list;\n    size_t n;\n} %ss[] = {" % (kind, kind))
        for name, _ in CASES:
            print("    {%s_%s, sizeof %s_%s / sizeof %s_%s[0]}," % ((prefix, name) * 3))
        print("};\n")
    print("/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()
