"""Where the tree can be mutated and how: single tokens of expressions, conditions that never hold, statements left out."""
import hashlib
import math
import re
from typing import NamedTuple

from .c_code import Code, typedefs_of

# Functions whose arguments are the words of an error; the status among them still counts.
REPORTS = ("dlx_fail", "dlx_fail_prefix", "dlx_set_error", "dlx_cli_fail", "fail", "fail_errno")

SWAPPED = {
    "<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="], "&&": ["||"], "||": ["&&"],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"], "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"],
    ">>": ["<<"], "+=": ["-="], "-=": ["+="], "*=": ["/="], "/=": ["*="], "|=": ["&="], "&=": ["|="], "<<=": [">>="],
    ">>=": ["<<="], "++": ["--"], "--": ["++"], "%=": ["/="], "^=": ["|="],
}
# Names that stand for each other where one of them is written: whole names, or words between underscores.
WORDS = [("min", "max"), ("MIN", "MAX"), ("begin", "end"), ("first", "last"), ("lo", "hi"), ("low", "high"), ("fmin", "fmax"),
         ("fminf", "fmaxf"), ("add", "sub"), ("floor", "ceil"), ("prefix", "suffix"), ("rows", "cols"), ("keys", "values"),
         ("inputs", "outputs"), ("in", "out"), ("k", "v"), ("cos", "sin"), ("left", "right")]
WEIGHT = {"relation": 3, "logic": 3, "arithmetic": 2, "assign": 1.5, "step": 0.5, "number": 1.2, "negate": 1, "never": 2.5,
          "not": 2, "jump": 3, "statement": 2.5, "word": 3, "enum": 1.2, "minus": 1, "status": 0.3}
QUIET = re.compile(r"free|close|lock|unlock|fclose|va_end|advise")  # calls whose absence only a leak or a race would show


class Site(NamedTuple):
    file: str
    line: int
    room: str
    function: str
    body: int  # where the function's body begins
    kind: str
    form: str  # expression, never, negate, statement, jump
    start: int
    end: int
    mutated: str  # text that replaces start..end where it is an expression or a jump
    before: str  # for people and for the list of equivalents
    after: str
    source: str  # the line, without white space around it
    key: str  # file, line and change; equal ones are numbered

    @property
    def what(self):
        return f"{self.before} -> {self.after}"


def one_line(text):
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)).strip()


def enum_families(texts):
    """name -> its neighbour in the enum that declares it. Knows lists of names and enums made from an X-macro."""
    neighbours = {}
    every = "\n".join(re.sub(r"/\*.*?\*/|//[^\n]*", " ", t, flags=re.S) for t in texts)
    lists = {m.group(1): re.findall(r"\bX\(\s*(\w+)", m.group(2))
             for m in re.finditer(r"^#define (\w+)\(X\)((?:\\\n|[^\n])*)", every, re.M)}
    makers = {m.group(1): m.group(3) for m in re.finditer(r"^#define (\w+)\((\w+)[^)]*\)[ \\\n]*(\w+)##\2", every, re.M)}
    for body in re.findall(r"\benum\b\s*\w*\s*\{(.*?)\}", every, re.S):
        names = []
        for macro, maker in re.findall(r"(\w+)\((\w+)\)", body):
            names += [makers[maker] + n for n in lists.get(macro, []) if maker in makers]
        body = re.sub(r"^\s*#.*|\w+\(\w+\)", "", body, flags=re.M)
        names += [m.group(1) for m in re.finditer(r"(?:^|,)\s*(\w+)\s*(?==|,|$)", body)]
        names = [n for n in names if not n.isdigit() and not n.endswith("COUNT")]
        for a, b in zip(names, names[1:] + names[:1]):
            if a != b:
                neighbours[a] = b
    return neighbours


def swapped_word(name, known):
    """`name` with one word exchanged for its opposite, when the tree knows that name."""
    words = name.split("_")
    for i, word in enumerate(words):
        for pair in WORDS:
            if word in pair:
                other = "_".join(words[:i] + [pair[1 - pair.index(word)]] + words[i + 1:])
                if other in known:
                    return other
    return None


class Finder:
    def __init__(self, texts):
        """`texts`: every source and header of the tree, by path."""
        self.texts = texts
        self.typedefs = set().union(*(typedefs_of(t) for t in texts.values()))
        self.known = set(re.findall(r"\b[A-Za-z_]\w*", "\n".join(texts.values())))
        self.neighbours = enum_families(texts.values())
        self.neighbours.update({"true": "false", "false": "true"})
        self.unread = []

    def sites(self, file, room):
        text = self.texts[file]
        code = Code(text, self.typedefs, REPORTS)
        self.unread += [(file, text.count("\n", 0, at) + 1) for at in code.unread]
        lines, found, seen = text.split("\n"), [], {}
        for function in code.functions:
            for part in function.parts:
                for kind, form, mutated, before, after in self.changes(text, part, function):
                    line = text.count("\n", 0, part.at) + 1
                    source = lines[line - 1].strip()
                    key = f"{file} | {source} | {before} -> {after}"
                    seen[key] = seen.get(key, 0) + 1
                    if seen[key] > 1:
                        key += f" #{seen[key]}"
                    found.append(Site(file, line, room, function.name, function.body, kind, form, part.start, part.end, mutated,
                                      before, after, source, key))
        return found

    def changes(self, text, part, function):
        """Yields (kind, form, new text, before, after) for one part of a function."""
        whole = text[part.start:part.end]
        names = set(re.findall(r"\b[A-Za-z_]\w*", text[function.start:function.end])) if part.kind == "name" else ()
        if part.where == "message":
            if part.kind == "name" and part.text.startswith("DLX_E_") and part.text in self.neighbours:
                other = self.neighbours[part.text]
                yield "status", "expression", other, part.text, other
            return

        def with_token(new):
            return one_line(text[part.start:part.at] + new + text[part.at_end:part.end])

        if part.kind in ("binary", "assign", "step") and part.text in SWAPPED:
            for new in SWAPPED[part.text]:
                kind = {"assign": "assign", "step": "step"}.get(part.kind) or (
                    "logic" if part.text in ("&&", "||") else
                    "relation" if part.text in ("<", "<=", ">", ">=", "==", "!=") else "arithmetic")
                yield kind, "expression", with_token(new), one_line(whole), with_token(new)
        elif part.kind == "unary" and part.text == "!":
            operand = text[part.at_end:part.end]
            yield "not", "expression", "!!" + one_line(operand), one_line(whole), one_line(operand)
        elif part.kind == "unary" and part.text == "-":
            yield "minus", "expression", with_token(""), one_line(whole), with_token("")
        elif part.kind == "number":
            yield from self.number_changes(part.text)
        elif part.kind in ("name", "field", "call"):
            if part.kind == "name" and part.text in self.neighbours:
                other = self.neighbours[part.text]
                yield "enum", "expression", other, part.text, other
            else:
                other = swapped_word(part.text, names if part.kind == "name" else self.known)
                if other:
                    yield "word", "expression", with_token(other), one_line(whole), with_token(other)
        elif part.kind == "condition":
            shown = one_line(whole)
            if part.where in ("if", "?:"):
                yield "negate", "negate", "", shown, f"!({shown})"
            if part.where == "if" and part.plain:
                yield "never", "never", "", shown, "never"
        elif part.kind == "statement":
            yield "statement", "statement", "", one_line(whole), "(nothing)"
        elif part.kind == "jump":
            other = "continue" if part.text == "break" else "break"
            yield "jump", "jump", other + ";", whole, other + ";"

    @staticmethod
    def number_changes(text):
        match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", text)
        if not match:
            return  # floating point
        digits, suffix = match.groups()
        value = int(digits, 0) if digits.lower().startswith("0x") or digits == "0" or digits[0] != "0" else int(digits, 8)
        if value >= 2 ** 63 - 1:
            return
        for new in ([1] if value == 0 else [value - 1, value + 1]):
            yield "number", "expression", f"{new}{suffix}", text, f"{new}{suffix}"


def rank(site, seed):
    """A number that depends on the mutant alone; the smaller ones are taken. Heavier kinds get smaller ones."""
    u = (int.from_bytes(hashlib.sha256(f"{seed} {site.key}".encode()).digest()[:8], "big") + 1) / 2.0 ** 64
    weight = WEIGHT[site.kind]
    if site.kind == "statement" and QUIET.search(site.before.split("(")[0]):
        weight *= 0.15
    return -math.log(u) / weight


def sample(sites, count, least, seed):
    """About `count` of the sites: every room at least `least`, the rest by the square root of its size; no two in one
    line, at most four in one function."""
    rooms = {}
    for s in sites:
        rooms.setdefault(s.room, []).append(s)
    roots = {room: math.sqrt(len(every)) for room, every in rooms.items()}
    total = sum(roots.values())
    chosen = []
    for room, every in sorted(rooms.items()):
        want = max(least, round(count * roots[room] / total))
        lines, functions, taken = set(), {}, 0
        for s in sorted(every, key=lambda s: rank(s, seed)):
            f = functions.setdefault((s.file, s.function), 0)
            if taken == want or (s.file, s.line) in lines or f >= 4:
                continue
            lines.add((s.file, s.line))
            functions[(s.file, s.function)] += 1
            taken += 1
            chosen.append(s)
    return sorted(chosen, key=lambda s: (s.room, s.file, s.start, s.key))
