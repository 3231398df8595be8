#!/usr/bin/env python3
"""Checks README and docs/: every link to a file of the tree exists, every `diffulex-edge` command line in a code block uses
subcommands and flags that the program's own --help lists (left out, with a message, when no program is given), every message
that docs/TROUBLESHOOTING.md quotes is one of the sources', every piece of C in docs/C.md stands in examples/, and CHANGELOG.md begins with the version
that is built."""
import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

PROGRAM = "diffulex-edge"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HTML_LINK = re.compile(r"\b(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^\s*(```|~~~)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def documents(root):
    found = [p for pattern in ("*.md", "docs/**/*.md", "demo/*.md", "python/*.md") for p in sorted(root.glob(pattern))]
    return [p for p in found if p.is_file()]


def split_code(text):
    """(prose lines, code lines), each a list of (number, line); a backslash joins a code line with the next."""
    prose, code, inside, pending = [], [], False, None
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            inside, pending = not inside, None
        elif not inside:
            prose.append((number, line))
        else:
            first, body = pending or (number, "")
            body += line.strip()
            pending = (first, body[:-1]) if body.endswith("\\") else None
            if pending is None:
                code.append((first, body))
    return prose, code


def anchor(heading):
    """GitHub's anchor of a heading."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", lambda m: m.group(1) or "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def check_links(root, path, prose):
    problems = []
    for number, line in prose:
        bare = SPAN.sub("", line)
        for target in LINK.findall(bare) + HTML_LINK.findall(bare):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, fragment = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            where = f"{path.relative_to(root)}:{number}"
            if not file.exists():
                problems.append(f"{where}: link to {target}, which does not exist")
            elif fragment and file.suffix == ".md":
                headings = [line.lstrip("#") for line in file.read_text(encoding="utf-8").splitlines()
                            if re.match(r"#{1,6} ", line)]
                if fragment not in {anchor(h) for h in headings}:
                    problems.append(f"{where}: {target}: no such heading")
    return problems


def commands(line):
    """Argument lists of the calls of the program in one shell line."""
    line = re.sub(r"^\s*[$%]\s+", "", line)
    if PROGRAM not in line:
        return
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = list(lexer)
    except ValueError:
        return
    call = None
    first = True
    for word in words + [";"]:
        if re.fullmatch(r"[|;&()]+", word):
            if call is not None:
                yield call
            call, first = None, True
        elif call is not None:
            call.append(word)
        elif first and re.fullmatch(r"[A-Za-z_]\w*=.*|time|env|sudo", word):
            continue
        else:
            call = [] if first and word.rsplit("/", 1)[-1] == PROGRAM else None
            first = False


class Help:
    """What the program's --help texts list."""

    def __init__(self, program):
        self.program = program
        self.texts = {}

    def text(self, *words):
        if words not in self.texts:
            done = subprocess.run([self.program, *words, "--help"], capture_output=True, text=True, timeout=60,
                                  stdin=subprocess.DEVNULL, check=False)
            self.texts[words] = done.stdout if done.returncode == 0 else None
        return self.texts[words]


def has_word(text, word):
    return re.search(r"(?<![\w-])" + re.escape(word) + r"(?![\w-])", text) is not None


def check_call(help_of, call):
    """What is wrong with one call of the program, as sentences."""
    top = help_of.text()
    if top is None:
        return [f"{PROGRAM} --help fails"]
    words = [w for w in call if not w.startswith("-")]
    flags = [w.split("=", 1)[0] for w in call if re.match(r"--?[A-Za-z]", w)]
    text, name = top, PROGRAM
    if call and not call[0].startswith("-"):
        sub = words[0]
        if re.fullmatch(r"[A-Z_]+|<.*>|\.\.\.|\[.*", sub):
            return []
        name = f"{PROGRAM} {sub}"
        if not has_word(top, sub):
            return [f"`{PROGRAM} --help` lists no subcommand {sub}"]
        text = help_of.text(sub)
        if text is None:
            return [f"`{name} --help` fails"]
    return [f"`{name} --help` lists no {flag}" for flag in flags
            if flag not in ("--help", "-h") and not has_word(text, flag)]


def check_commands(root, path, prose, code, help_of):
    spans = [(number, span) for number, line in prose for span in SPAN.findall(line) if span.startswith(PROGRAM + " ")]
    problems, count = [], 0
    for number, line in sorted(code + spans):
        for call in commands(line):
            count += 1
            problems += [f"{path.relative_to(root)}:{number}: {p}" for p in check_call(help_of, call)]
    return problems, count


# ---- quotations ----

C_STRINGS = re.compile(r'"(?:\\.|[^"\\\n])*"(?:\s*(?:PRI\w+\s*)?"(?:\\.|[^"\\\n])*")*')
CONVERSION = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]|\{[^{}]*\}")
QUOTED = re.compile(r"^> `(.+)`$")
LEAST_WORDS = 20  # letters of a message that must be the source's own


def sentences(root):
    """[(regular expression, letters of its own)] of the texts in the sources that may be messages."""
    found = set()
    for pattern in ("src/**/*.c", "cli/**/*.c", "python/diffulex_edge/**/*.py"):
        for path in root.glob(pattern):
            for match in C_STRINGS.finditer(re.sub(r'"\s+f"', '""', path.read_text(encoding="utf-8"))):
                parts = re.findall(r'"((?:\\.|[^"\\\n])*)"', match.group(0))
                found.add(re.sub(r"\\(.)", r"\1", "".join(parts)))
    out = []
    for text in found:
        own = CONVERSION.split(text)
        letters = sum(map(len, own))
        if letters >= LEAST_WORDS:
            out.append((re.compile(".+?".join(map(re.escape, own))), letters))
    return out


def check_messages(root, path, prose, known):
    """What the page quotes and no source says. Sentences may stand inside others: a third is the least."""
    problems, count = [], 0
    for number, line in prose:
        quoted = QUOTED.match(line)
        if not quoted:
            continue
        count += 1
        if not any(letters >= len(quoted[1]) / 3 and pattern.search(quoted[1]) for pattern, letters in known):
            problems.append(f"{path.relative_to(root)}:{number}: no source says: {quoted[1][:70]}")
    return problems, count


def check_quoted_code(root, path, text):
    """Blocks of C that stand in no example, white space aside."""
    def bare(code):
        return " ".join(code.split())

    examples = [bare(p.read_text(encoding="utf-8")) for p in sorted(root.glob("examples/**/*.c*"))]
    blocks = re.findall(r"^```c\n(.*?)^```$", text, re.M | re.S)
    return [f"{path.relative_to(root)}: no example has: {bare(block)[:70]}" for block in blocks
            if not any(bare(block) in example for example in examples)], len(blocks)


def check_changes(root):
    """The first version of CHANGELOG.md is the one that is built."""
    page, build = root / "CHANGELOG.md", root / "CMakeLists.txt"
    if not page.is_file() or not build.is_file():
        return []
    told = re.search(r"^## (\S+)", page.read_text(encoding="utf-8"), re.M)
    built = re.search(r"^project\(\w+ VERSION ([\d.]+)", build.read_text(encoding="utf-8"), re.M)
    if told and built and told[1] == built[1]:
        return []
    return [f"CHANGELOG.md begins with {told and told[1]}, CMakeLists.txt builds {built and built[1]}"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--cli", type=Path, help="the built program; default: build/release/cli/diffulex-edge")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    cli = args.cli or root / "build" / "release" / "cli" / PROGRAM
    help_of = Help(str(cli.resolve())) if cli.is_file() else None
    if args.cli and help_of is None:
        print(f"{args.cli}: no such program")
        return 1

    problems, count, quotations = check_changes(root), 0, 0
    pages = documents(root)
    if not any(p.name == "README.md" for p in pages):
        problems.append("README.md: missing")
    for path in pages:
        prose, code = split_code(path.read_text(encoding="utf-8"))
        problems += check_links(root, path, prose)
        if help_of:
            found, calls = check_commands(root, path, prose, code, help_of)
            problems += found
            count += calls
        found, quoted = [], 0
        if path == root / "docs" / "TROUBLESHOOTING.md":
            found, quoted = check_messages(root, path, prose, sentences(root))
        elif path == root / "docs" / "C.md":
            found, quoted = check_quoted_code(root, path, path.read_text(encoding="utf-8"))
        problems += found
        quotations += quoted
    if help_of is None:
        print(f"docs: {cli} is not built, command lines were not checked")
    print("\n".join(problems) or f"docs: {len(pages)} pages, {count} command lines, {quotations} quotations, every link and flag exists")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
