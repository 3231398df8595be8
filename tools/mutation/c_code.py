"""Reads C well enough to name the parts of expressions and statements inside function bodies.

This is no compiler: it knows the precedence of operators, where statements begin and end, and which contexts hold constants
or types only. What it does not understand it leaves out and counts (`Code.unread`), so a strange line costs mutants, never
a wrong one. Everything outside function bodies is skipped: types, initialisers of static data, preprocessor lines.
"""
import re
from typing import NamedTuple

TOKEN = re.compile(r"""
    (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<directive>^[ \t]*\#(?:\\\n|[^\n])*)
  | (?P<string>(?:u8|[LuU])?"(?:\\.|[^"\\\n])*")
  | (?P<char>[LuU]?'(?:\\.|[^'\\\n])+')
  | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<mark>\.\.\.|<<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[^\s\w])
""", re.X | re.S | re.M)

BINARY = {"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, "<=": 7, ">": 7, ">=": 7, "<<": 8,
          ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10}
ASSIGN = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
TYPE_WORDS = set("""void bool _Bool char short int long float double signed unsigned const volatile restrict static register
extern inline struct union enum _Alignas alignas _Atomic _Thread_local""".split())
STATEMENT_WORDS = {"if", "else", "while", "for", "do", "switch", "case", "default", "return", "goto", "break", "continue"}
TYPEDEF = re.compile(r"\btypedef\b[^;{]*?(?:\{[^}]*\}\s*)?\(?\*?\s*(\w+)\s*\)?\s*(?:\([^;]*\))?\s*(?:\[[^;]*\])?;", re.S)


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class Part(NamedTuple):
    """Something that can be mutated: `start` to `end` is all of it, `at` to `at_end` the token that carries it."""
    kind: str  # binary assign unary step number name field call condition statement jump
    text: str  # operator, number, name, or for statements the name that is called ("=" for an assignment)
    start: int
    end: int
    at: int
    at_end: int
    where: str = ""  # conditions: if while for do ?:; parts of a report of an error: "message"
    plain: bool = False  # conditions: an if without else


class Function(NamedTuple):
    name: str
    start: int  # of the text from its name on
    body: int
    end: int
    parts: list


class Unreadable(Exception):
    pass


def tokens_of(text):
    return [Token(m.lastgroup, m.group(), m.start(), m.end()) for m in TOKEN.finditer(text)]


def typedefs_of(text):
    """Names that a file gives to types, most of them."""
    return {m.group(1) for m in TYPEDEF.finditer(text)} | set(re.findall(r"^}\s*(\w+);", text, re.M))


class Code:
    """The functions of one C file."""

    def __init__(self, text, typedefs=(), reports=()):
        self.text = text
        self.typedefs = set(typedefs) | typedefs_of(text)
        self.reports = set(reports)  # functions whose arguments only make the text of an error
        every = tokens_of(text)
        self.directives = [t.start for t in every if t.kind == "directive"]
        self.tokens = [t for t in every if t.kind not in ("comment", "directive")]
        self.pairs = self.match_brackets()
        self.functions = []
        self.unread = []  # offsets of statements that were left out
        i = 0
        while i < len(self.tokens):
            if self.tokens[i].text == "{":
                before = self.tokens[i - 1] if i else None
                if before and before.kind == "string":  # extern "C"
                    i += 1
                    continue
                if before and before.text == ")":
                    reader = Reader(self, i, self.pairs[i])
                    name = self.name_before(i - 1)
                    end = self.tokens[min(self.pairs[i], len(self.tokens) - 1)].end
                    self.functions.append(Function(name.text, name.start, self.tokens[i].start, end, reader.read_body()))
                i = self.pairs[i]
            i += 1

    def match_brackets(self):
        pairs, stack = {}, []
        closing = {")": "(", "]": "[", "}": "{"}
        for i, t in enumerate(self.tokens):
            if t.kind != "mark":
                continue
            if t.text in "([{":
                stack.append(i)
            elif t.text in closing and stack:
                while stack and self.tokens[stack[-1]].text != closing[t.text]:  # branches of an #if that do not pair
                    stack.pop()
                if stack:
                    pairs[stack.pop()] = i
        for i in stack:
            pairs[i] = len(self.tokens)
        for i, t in enumerate(self.tokens):
            if t.kind == "mark" and t.text in "([{":
                pairs.setdefault(i, len(self.tokens))
        return pairs

    def name_before(self, close):
        """The name of the function whose parameter list ends at token `close`."""
        opens = {b: a for a, b in self.pairs.items()}
        i = opens.get(close, 0) - 1
        if i >= 0 and self.tokens[i].text == ")":  # NAME(x)(parameters)
            i -= 1
        return self.tokens[max(i, 0)]

    def crosses_directive(self, start, end):
        return any(start <= d < end for d in self.directives)


class Reader:
    """Recursive descent over one function body. Spans are pairs of token numbers, the second one exclusive."""

    def __init__(self, code, begin, end):
        self.code, self.tokens, self.pairs = code, code.tokens, code.pairs
        self.i, self.begin, self.end = begin, begin, end
        self.parts = []
        self.muted = 0
        self.message = 0

    # ---- tokens

    def text(self, ahead=0):
        j = self.i + ahead
        return self.tokens[j].text if j <= self.end and j < len(self.tokens) else ""

    def kind(self, ahead=0):
        j = self.i + ahead
        return self.tokens[j].kind if j <= self.end and j < len(self.tokens) else ""

    def expect(self, text):
        if self.text() != text:
            raise Unreadable
        self.i += 1

    def skip_group(self):
        if self.i not in self.pairs or self.pairs[self.i] >= self.end + 1:
            raise Unreadable
        self.i = self.pairs[self.i] + 1

    def note(self, kind, text, span, at, **more):
        if self.muted:
            return
        first, last, token = self.tokens[span[0]], self.tokens[span[1] - 1], self.tokens[at]
        if self.code.crosses_directive(first.start, last.end):
            return
        if self.message:
            more["where"] = "message"
        self.parts.append(Part(kind, text, first.start, last.end, token.start, token.end, **more))

    def not_a_value(self, span):
        """What stands here is written to or its address is taken: a part that is all of it cannot be replaced."""
        start, end = self.tokens[span[0]].start, self.tokens[span[1] - 1].end
        self.parts = [p for p in self.parts if not (p.start == start and p.end == end and p.kind in ("name", "field"))]

    # ---- statements

    def read_body(self):
        self.block()
        return self.parts

    def block(self):
        close = self.pairs[self.i]
        self.i += 1
        while self.i < close:
            begin, kept = self.i, len(self.parts)
            try:
                self.statement()
                if self.i > close:
                    raise Unreadable
            except (Unreadable, IndexError, KeyError):
                del self.parts[kept:]
                self.muted = self.message = 0
                self.code.unread.append(self.tokens[begin].start)
                self.i = begin
                self.skip_statement(close)
        self.i = close + 1

    def skip_statement(self, close):
        while self.i < close and self.text() != ";":
            if self.text() == "{":
                self.block()
                return
            self.i = self.pairs[self.i] + 1 if self.i in self.pairs else self.i + 1
        self.i = min(self.i + 1, close)

    def statement(self):
        word = self.text()
        if word == "{":
            self.block()
        elif word == ";":
            self.i += 1
        elif self.kind() == "name" and word in STATEMENT_WORDS:
            getattr(self, "on_" + word)()
        elif self.kind() == "name" and self.text(1) == ":":
            self.i += 2
        elif word in ("_Static_assert", "static_assert"):
            self.skip_statement(self.end)
        elif self.kind() == "name" and self.kind(1) == "name" and self.text(1) in STATEMENT_WORDS:
            self.i += 1  # a macro that only carries a pragma
            self.statement()
        elif self.is_declaration():
            self.declaration()
        else:
            self.expression_statement()

    def condition(self, where, plain=False):
        """The condition up to the closing parenthesis."""
        span = self.comma_expression()
        self.note("condition", "", span, span[0], where=where, plain=plain)
        return len(self.parts) - 1

    def on_if(self):
        self.i += 1
        self.expect("(")
        kept = len(self.parts)
        span = self.comma_expression()
        self.expect(")")
        inner = self.parts[kept:]
        del self.parts[kept:]
        after = self.i
        self.statement()
        body = self.parts[kept:]
        del self.parts[kept:]
        has_else = self.text() == "else"
        self.note("condition", self.tokens[after].text, span, span[0], where="if", plain=not has_else)
        self.parts += inner + body
        if has_else:
            self.i += 1
            self.statement()

    def on_else(self):
        raise Unreadable

    def on_while(self):
        self.i += 1
        self.expect("(")
        self.condition("while")
        self.expect(")")
        self.statement()

    def on_do(self):
        self.i += 1
        self.statement()
        self.expect("while")
        self.expect("(")
        if self.text() != "0":  # do { } while (0)
            self.condition("do")
        else:
            self.i += 1
        self.expect(")")
        self.expect(";")

    def on_for(self):
        self.i += 1
        self.expect("(")
        if self.text() == ";":
            self.i += 1
        elif self.is_declaration():
            self.declaration()
        else:
            self.comma_expression()
            self.expect(";")
        if self.text() != ";":
            self.condition("for")
        self.expect(";")
        if self.text() != ")":
            self.comma_expression()
        self.expect(")")
        self.statement()

    def on_switch(self):
        self.i += 1
        self.expect("(")
        self.comma_expression()
        self.expect(")")
        self.statement()

    def on_case(self):
        while self.text() != ":":
            if self.i >= self.end:
                raise Unreadable
            self.i = self.pairs[self.i] + 1 if self.i in self.pairs else self.i + 1
        self.i += 1

    def on_default(self):
        self.i += 1
        self.expect(":")

    def on_return(self):
        self.i += 1
        if self.text() != ";":
            self.comma_expression()
        self.expect(";")

    def on_goto(self):
        self.i += 2
        self.expect(";")

    def jump(self):
        self.note("jump", self.text(), (self.i, self.i + 2), self.i)
        self.i += 1
        self.expect(";")

    on_break = on_continue = jump

    def expression_statement(self):
        begin, kept = self.i, len(self.parts)
        is_cast = self.text() == "(" and self.is_cast()
        span = self.comma_expression()
        if self.text() == ";":
            self.i += 1
        elif self.text() != "{" and self.tokens[self.i - 1].text != ")":  # a macro may bring its own braces
            raise Unreadable
        if is_cast:  # (void)x
            return
        what = [p for p in self.parts[kept:] if p.start == self.tokens[begin].start and p.end == self.tokens[span[1] - 1].end]
        name = next((p.text for p in what if p.kind in ("call", "assign", "step")), "")
        if self.tokens[self.i - 1].text == ";" and name:
            self.note("statement", name, (begin, self.i), begin)

    # ---- declarations

    def is_type_word(self, token):
        return token.kind == "name" and (token.text in TYPE_WORDS or token.text in self.code.typedefs
                                         or token.text.endswith("_t"))

    def is_declaration(self):
        if self.kind() != "name":
            return False
        if self.text() in TYPE_WORDS:
            return True
        if self.kind(1) == "name" and self.text(1) not in STATEMENT_WORDS:
            return True
        return self.text() in self.code.typedefs and self.text(1) == "*"

    def declaration(self):
        mute = 0
        while True:  # specifiers: every name that is not the one declared
            word = self.text()
            if word == "static":
                mute = 1
            if word in ("struct", "union", "enum"):
                self.i += 1
                if self.kind() == "name":
                    self.i += 1
                if self.text() == "{":
                    self.skip_group()
                if self.text() == ";":
                    self.i += 1
                    return
            elif word in ("_Alignas", "alignas", "__attribute__"):
                self.i += 1
                self.skip_group()
            elif self.kind() == "name" and self.text(1) not in ("=", ";", ",", "[", ":"):
                if self.text(1) == "(" and self.text(2) != "*":
                    raise Unreadable  # a function declared inside a function
                self.i += 1
                if self.text() == "(":
                    break
            else:
                break
        self.muted += mute
        while True:
            while self.text() in ("*", "const", "restrict", "volatile"):
                self.i += 1
            if self.text() == "(":
                self.skip_group()
            elif self.kind() == "name":
                self.i += 1
            else:
                raise Unreadable
            while self.text() in ("[", "("):
                self.skip_group()
            if self.text() == "=":
                self.i += 1
                self.initialiser()
            if self.text() != ",":
                break
            self.i += 1
        self.muted -= mute
        self.expect(";")

    def initialiser(self):
        if self.text() != "{":
            self.assignment()
            return
        close = self.pairs[self.i]
        self.i += 1
        while self.i < close:
            while self.text() in (".", "["):
                if self.text() == ".":
                    self.i += 2
                else:
                    self.skip_group()
            if self.text() == "=":
                self.i += 1
            self.initialiser()
            if self.i < close:
                self.expect(",")
        self.i = close + 1

    # ---- expressions

    def comma_expression(self):
        begin = self.i
        self.assignment()
        while self.text() == ",":
            self.i += 1
            self.assignment()
        return begin, self.i

    def assignment(self):
        begin = self.i
        left = self.conditional()
        if self.text() in ASSIGN:
            at = self.i
            self.not_a_value(left)
            self.i += 1
            self.assignment()
            self.note("assign", self.tokens[at].text, (begin, self.i), at)
        return begin, self.i

    def conditional(self):
        begin = self.i
        kept = len(self.parts)
        self.binary(1)
        if self.text() == "?":
            inner = self.parts[kept:]
            del self.parts[kept:]
            self.note("condition", "?", (begin, self.i), begin, where="?:")
            self.parts += inner
            self.i += 1
            self.comma_expression()
            self.expect(":")
            self.conditional()
        return begin, self.i

    def binary(self, lowest):
        begin = self.i
        self.unary()
        while BINARY.get(self.text(), 0) >= lowest and self.kind() == "mark":
            at = self.i
            self.i += 1
            self.binary(BINARY[self.tokens[at].text] + 1)
            self.note("binary", self.tokens[at].text, (begin, self.i), at)
        return begin, self.i

    def is_cast(self):
        """Does the parenthesis here hold a type?"""
        close = self.pairs.get(self.i)
        if close is None or close == self.i + 1:
            return False
        inside = self.tokens[self.i + 1:close]
        if self.is_type_word(inside[0]):
            return all(t.kind == "name" or t.text in "*[]()" or t.kind == "number" for t in inside)
        behind = self.tokens[close + 1]
        if inside[0].kind == "name" and all(t.text == "*" for t in inside[1:]) and len(inside) > 1:
            return True  # (name *)
        return len(inside) == 1 and inside[0].kind == "name" and (behind.kind in ("name", "number", "string")
                                                                    and behind.text not in STATEMENT_WORDS)

    def unary(self):
        begin, word = self.i, self.text()
        if word in ("!", "~", "-", "+", "*", "&") and self.kind() == "mark":
            self.i += 1
            operand = self.unary()
            if word == "&":
                self.not_a_value(operand)
            self.note("unary", word, (begin, self.i), begin)
        elif word in ("++", "--"):
            self.i += 1
            self.not_a_value(self.unary())
            self.note("step", word, (begin, self.i), begin)
        elif word in ("sizeof", "_Alignof", "alignof"):
            self.i += 1
            self.muted += 1
            if self.text() == "(" and self.is_cast():
                self.skip_group()
            else:
                self.unary()
            self.muted -= 1
        elif word == "(" and self.is_cast():
            self.skip_group()
            if self.text() == "{":  # compound literal
                self.initialiser()
                self.postfix(begin)
            else:
                self.unary()
        else:
            self.primary()
            self.postfix(begin)
        return begin, self.i

    def primary(self):
        kind, word = self.kind(), self.text()
        if kind == "string" or (kind == "name" and self.kind(1) == "string"):
            while self.kind() == "string" or (self.kind() == "name" and "string" in (self.kind(1), self.kind(-1))):
                self.i += 1
        elif kind == "name" and word not in STATEMENT_WORDS and word not in TYPE_WORDS:
            if self.text(1) != "(":
                self.note("name", word, (self.i, self.i + 1), self.i)
            self.i += 1
        elif kind in ("number", "char"):
            if kind == "number":
                self.note("number", word, (self.i, self.i + 1), self.i)
            self.i += 1
        elif word == "(":
            self.i += 1
            self.comma_expression()
            self.expect(")")
        else:
            raise Unreadable

    def postfix(self, begin):
        while True:
            word = self.text()
            if word == "(":
                callee = self.i - 1
                self.arguments(self.tokens[callee].text)
                if callee == begin and self.tokens[callee].kind == "name":
                    self.note("call", self.tokens[callee].text, (begin, self.i), callee)
            elif word == "[":
                self.i += 1
                self.comma_expression()
                self.expect("]")
            elif word in (".", "->") and self.kind(1) == "name":
                self.i += 2
                self.note("field", self.tokens[self.i - 1].text, (begin, self.i), self.i - 1)
            elif word in ("++", "--"):
                self.not_a_value((begin, self.i))
                self.i += 1
                self.note("step", word, (begin, self.i), self.i - 1)
            else:
                return

    def skip_type(self, close):
        """An argument of a macro that is only a type."""
        j = self.i
        while j < close and (self.is_type_word(self.tokens[j]) or (j > self.i and self.tokens[j].text == "*")):
            j += 1
        if j == self.i or (j < close and self.tokens[j].text != ","):
            return False
        self.i = j
        return True

    def arguments(self, callee):
        close, kept, muted, message = self.pairs[self.i], len(self.parts), self.muted, self.message
        report = callee in self.reports
        begin = self.i
        try:
            self.i += 1
            self.message += report
            while self.i < close:
                if not self.skip_type(close):
                    self.assignment()
                if self.i < close:
                    self.expect(",")
        except Unreadable:  # types or operators as arguments of a macro
            del self.parts[kept:]
            self.code.unread.append(self.tokens[begin].start)
        self.muted, self.message = muted, message
        self.i = close + 1

    @property
    def reports(self):
        return self.code.reports
