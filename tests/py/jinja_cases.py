"""Conversations and small programs for chat templates, from generators with a fixed start; and what Jinja2 makes of them.

Used by test_jinja_oracle.py, which compares live, and by tools/record_jinja.py, which records answers for clones without
Python packages.
"""
import datetime
import json
import pathlib
import re

TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "data" / "jinja" / "templates"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def templates():
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.jinja"))}


# ---- Jinja2 as transformers sets it up -------------------------------------------------------------------------------

def compile_reference(source):
    """The settings of transformers' chat templates. Only what they say is taken over, so that Jinja2 alone is enough."""
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

        def _support(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    class Dict:
        def __call__(self, *args, **kwargs):
            return dict(*args, **kwargs)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = tojson
    environment.globals["dict"] = Dict()
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return environment.from_string(source)


def render_reference(source, variables):
    """The text, or None where Jinja2 fails."""
    try:
        return compile_reference(source).render(**variables)
    except Exception:  # noqa: B902 - whatever it is, the library must fail too
        return None


def prints_addresses(text):
    """Whether Python's own names of objects are in a text; nobody can print the same."""
    return re.search(r"(?i)<(built-in|function|bound|class|method|macro|loopcontext|namespace|jinja2|generator"
                     r"|list_reverseiterator|dict_|range_|[a-z_.0-9]+ object at|undefined)", text) is not None


# ---- conversations ---------------------------------------------------------------------------------------------------

TEXTS = ["Hi", "What is 2+2?", "caf\u00e9 \u4f60\u597d", "<think>x</think>done", " padded \n", "", '{"a": 1}',
         'it\'s "q"', "\U0001f600", "line1\nline2", "<|im_end|>", "[INST] x [/INST]", "a" * 50, "</think>tail",
         "\u00a0nbsp", "\\", "{{ x }}", "/no_think"]

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather \u00e9",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "City"}, "unit": {"type": "string", "enum": ["c", "f"]},
            "n": {"type": "integer"}, "l": {"type": "array", "items": {"type": "string"}}},
            "required": ["city"]},
        "return": {"type": "string", "description": "r"}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds", "parameters": {"type": "object", "properties": {
            "a": {"type": "number", "default": 1.5}, "b": {"type": "number"}}, "required": ["a", "b"]}}},
    {"type": "function", "function": {
        "name": "noargs", "description": "none", "parameters": {"type": "object", "properties": {}}}}]

DOCUMENTS = [{"title": "T1", "text": "Doc one", "doc_id": "1"}, {"title": "T2", "text": "Doc \u00e9 two", "doc_id": "2"}]

VARIABLES = {"enable_thinking": [True, False], "thinking": [True, False], "date_string": ["26 Jul 2024"],
             "custom_tools": [TOOLS[:1]], "tools_in_user_message": [True, False], "reasoning_effort": ["low", "high"],
             "add_vision_id": [True], "model_identity": ["I am X"], "controls": [{"length": "long"}, ["citations"]],
             "keep_past_thinking": [True], "xml_tools": [["t"]], "date": ["2025-02-03"]}


def _message(rng, role, tools):
    message = {"role": role, "content": rng.choice(TEXTS)}
    if rng.random() < 0.08:
        message["content"] = [{"type": "text", "text": rng.choice(TEXTS)} for _ in range(rng.randrange(1, 3))]
    if role == "assistant" and rng.random() < 0.2:
        message["reasoning_content"] = rng.choice(TEXTS)
    if role == "assistant" and tools and rng.random() < 0.5:
        message["tool_calls"] = [
            {"id": rng.choice(["123456789", "abcdefghi", "call_1"]), "type": "function", "function": {
                "name": rng.choice(["add", "get_weather"]),
                "arguments": rng.choice([{"a": 1, "b": 2.5}, {"city": "K\u00f6ln"}, '{"a": 1}', {}])}}
            for _ in range(rng.randrange(1, 3))]
        if rng.random() < 0.5:
            message["content"] = rng.choice([None, ""])
    if role == "tool":
        message.update(tool_call_id=rng.choice(["123456789", "call_x"]), name="add")
    return message


def conversation(rng):
    """A request: messages, tools, documents, add_generation_prompt, and further variables."""
    messages = []
    if rng.random() < 0.45:
        messages.append({"role": rng.choice(["system", "system", "developer"]), "content": rng.choice(TEXTS)})
    strict, role, tools = rng.random() < 0.6, "user", rng.random() < 0.4
    for _ in range(rng.randrange(0 if messages else 1, 6)):
        if not strict:
            role = rng.choice(["user", "assistant", "tool", "system", "user", "assistant"])
        message = _message(rng, role, tools)
        messages.append(message)
        following = {"user": "assistant", "assistant": "tool" if "tool_calls" in message else "user",
                     "tool": rng.choice(["tool", "assistant", "user"]), "system": "user"}
        role = following[role] if strict else role
    kwargs = {name: rng.choice(values) for name, values in VARIABLES.items() if rng.random() < 0.15}
    return {"messages": messages, "tools": TOOLS[:rng.randrange(1, 4)] if rng.random() < 0.5 else None,
            "documents": DOCUMENTS if rng.random() < 0.2 else None, "add_generation_prompt": rng.random() < 0.6,
            "kwargs": kwargs}


def reads_parts(source):
    """Whether a template looks at the parts of a message's content, as far as these templates show it."""
    return re.search(r"for \w+ in [^%]*content|content(['\"]\])?( \| map|\[0)", source) is not None


def _with_contents(messages, change):
    return [{**m, "content": change(m["content"])} if "content" in m else m for m in messages]


def _reasoning(message):
    thought = message.get("reasoning_content")
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


def expected(source, request):
    """What the library must print: what Jinja2 prints, behind the library's own rules for content."""
    messages = [_reasoning(m) for m in json.loads(json.dumps(request["messages"]))]
    if not reads_parts(source):
        messages = _with_contents(messages, lambda c: "".join(p["text"] for p in c) if isinstance(c, list) else c)
    rest = {**SPECIAL, **{key: request[key] for key in ("tools", "documents", "add_generation_prompt")},
            **request["kwargs"]}
    text = render_reference(source, {"messages": messages, **rest})
    if text is None and any(m.get("content", "") is None for m in messages):
        text = render_reference(source, {"messages": _with_contents(messages, lambda c: c or ""), **rest})
    return text


# ---- small programs --------------------------------------------------------------------------------------------------

STRINGS = ["'abc'", "''", "'a b  c'", "'Hello World'", "'x,y,,z'", "'\u00df\u00e9'", "'\\n line\\n two\\n'", "'12'", "' -7 '",
           "'3.5'", "'<b>&'", "name", "text", "'Aa'", "'a'", "'\u03a3\u03b1\u03a3'"]
INTEGERS = ["0", "1", "2", "3", "-1", "7", "num", "10"]
FLOATS = ["1.5", "0.0", "2.0", "-3.25", "0.1", "100.0"]
LISTS = ["[]", "[1,2,3]", "['b','a','C']", "words", "[1,'a',none]", "[[1,2],[3]]", "(1,2)", "range(4)", "msgs",
         "[3,1,2,1]", "[true,false]", "('a',)", "'abc'|list", "d.keys()|list"]
DICTS = ["{}", "{'a':1,'b':2}", "d", "nested", "msgs[0]", "{'B':1,'a':2,'c':none}", "{1:'x','k':[1,2]}"]
WORDS = ["true", "false", "none", "undef", "name is defined", "undef is defined"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "**"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "boolean", "true", "false",
         "integer", "float", "callable", "lower", "upper", "odd", "even"]
COMPARING = ["eq", "ne", "lt", "gt", "ge", "le", "in", "divisibleby", "equalto"]
METHODS = ["upper", "lower", "strip", "lstrip", "rstrip", "title", "capitalize", "split", "splitlines", "isdigit",
           "isalpha", "isalnum", "isspace", "isupper", "islower", "istitle", "swapcase", "rsplit"]
METHODS_OF_TEXT = ["strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "find", "rfind", "index",
                   "count", "removeprefix", "removesuffix", "partition", "rpartition", "join"]
FILTERS = [
    "list", "length", "first", "last", "join", "join(', ')", "sort", "sort(reverse=true)", "unique|list", "reverse|list",
    "sum", "min", "max", "tojson", "tojson(indent=2)", "string", "batch(2)|list", "slice(2)|list", "dictsort",
    "items|list", "default(1)", "d('x',true)", "upper", "trim", "int", "float", "list|tojson", "map('string')|list",
    "select|list", "reject('none')|list", "groupby('role')", "groupby(0)|list", "sort(attribute='role')",
    "map(attribute='role')|list", "map(attribute='role',default='-')|list", "tojson(separators=(',',':'))",
    "tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "sum(start=2)", "max(attribute='role')", "abs", "round",
    "round(2)", "round(1,'floor')", "batch(3,'-')|list", "escape", "format(1)", "attr('role')", "replace('a','b')",
    "title", "dictsort(by='value')", "dictsort(reverse=true)", "count"]
TEXT_FILTERS = [
    "upper", "lower", "trim", "title", "capitalize", "length", "list", "reverse", "first", "last", "string", "escape",
    "wordcount", "int", "float", "tojson", "indent", "indent(2)", "indent(2,true)", "center(9)", "replace('a','bb')",
    "default('q')", "e", "join('-')", "unique|list", "sort"]
FORMATS = ["'%s-%s' % (1, {})", "'{{}}:{{}}'.format({}, 1)", "'%05.2f|%d|%x' % (1.5, 7, 255)", "'{{0!r:>6}}'.format({})",
           "'{{:>8}}|{{:<4}}|{{:^5}}'.format({},{},1)", "'%s' % {}", "'%-5s|%5s' | format({},{})",
           "'{{:,}}'.format(1234567)", "'{{:.3f}}'.format(1.23456)", "'%r' % ({},)"]
BLANKS = ["", " ", "\n", "  ", "\n  ", "x", "\n\n", " y\n"]


class Program:
    """Writes one random template."""

    def __init__(self, rng):
        self.rng = rng

    def one_of(self, *choices):
        return self.rng.choice(choices)

    def part(self):
        return self.one_of("", "", "0", "1", "-1", "2", "-2", "num")

    def slice(self):
        return f"{self.part()}:{self.part()}" + self.one_of("", ":", ":1", ":-1", ":2", ":-2")

    def expression(self, depth=None):
        depth = self.one_of(1, 2, 3, 3, 4) if depth is None else depth
        if depth > 3:
            return self.rng.choice(STRINGS + INTEGERS + FLOATS + LISTS + DICTS + WORDS)
        kind, inner = self.rng.randrange(12), lambda: self.expression(depth + 1)
        if kind < 4:
            return (self.string, self.list, self.integer, self.dict)[kind](depth)
        if kind == 4:
            return f"({inner()} {self.rng.choice(OPERATORS)} {inner()})"
        if kind == 5:
            return f"({inner()} if {inner()}" + (f" else {inner()})" if self.rng.random() < 0.8 else ")")
        if kind == 6:
            return f"(not {inner()})"
        if kind == 7:
            return f"({inner()} is {self.one_of('', 'not ')}{self.rng.choice(TESTS)})"
        if kind == 8:
            return f"({inner()} is {self.rng.choice(COMPARING)}({inner()}))"
        if kind == 9:
            return f"{inner()} | {self.rng.choice(FILTERS)}"
        if kind == 10:
            return f"({inner()})[{self.one_of(self.integer, self.string)(depth + 1)}]"
        return f"({inner()}).{self.one_of('a', 'b', 'role', 'content', 'x', '0')}"

    def string(self, depth):
        kind, inner = self.rng.randrange(12), lambda: self.string(depth + 1)
        if depth > 3 or kind < 2:
            return self.rng.choice(STRINGS)
        if kind == 2:
            return f"({inner()} ~ {self.expression(depth + 1)})"
        if kind == 3:
            return f"({inner()}).{self.rng.choice(METHODS)}()"
        if kind == 4:
            argument = self.one_of(self.string, self.string, self.string, self.list)(depth + 1)
            return f"({inner()}).{self.rng.choice(METHODS_OF_TEXT)}({argument})"
        if kind == 5:
            return f"({inner()}).replace({inner()}, {inner()}" + self.one_of(")", f", {self.integer(depth + 1)})")
        if kind == 6:
            return f"({inner()})[{self.slice()}]"
        if kind == 7:
            return f"({inner()}).{self.one_of('split', 'rsplit')}({self.one_of(inner(), 'none')}, {self.integer(3)})"
        if kind == 8:
            return f"({inner()}).{self.one_of('ljust', 'rjust', 'center', 'zfill')}({self.one_of('5', '8', '3', 'num')})"
        if kind == 9:
            return f"({inner()} | {self.rng.choice(TEXT_FILTERS)})"
        if kind == 10:
            return f"({inner()} * {self.integer(depth + 1)})"
        return self.rng.choice(FORMATS).format(*[self.rng.choice(STRINGS)] * 2)

    def integer(self, depth):
        kind = self.rng.randrange(6)
        if depth > 3 or kind < 3:
            return self.rng.choice(INTEGERS)
        if kind == 3:
            return f"({self.expression(depth + 1)} | {self.one_of('length', 'count', 'abs', 'round', 'int(5)', 'float')})"
        if kind == 4:
            return f"({self.integer(depth + 1)} {self.one_of('+', '-', '*', '//', '%')} {self.integer(depth + 1)})"
        return f"(-{self.integer(depth + 1)})"

    def list(self, depth):
        kind, inner = self.rng.randrange(8), lambda: self.list(depth + 1)
        if depth > 3 or kind < 2:
            return self.rng.choice(LISTS)
        if kind == 2:
            return f"({inner()} + {inner()})"
        if kind == 3:
            return f"({inner()})[{self.slice()}]" if self.rng.random() < 0.2 else f"(words)[{self.slice()}]"
        if kind == 4:
            return f"({inner()} | {self.rng.choice(FILTERS)})"
        if kind == 5:
            return "[" + ", ".join(self.expression(depth + 1) for _ in range(self.rng.randrange(4))) + "]"
        if kind == 6:
            test = self.one_of("upper", "length", "string", "none", "defined", "odd", "int", "trim", "mapping", "first")
            return f"({inner()} | {self.one_of('map', 'select', 'reject', 'map')}('{test}') | list)"
        test = self.one_of("", ", 'equalto', 'user'", ", 'defined'", ", 'in', ['user','x']")
        end = self.one_of("list", "first", "list|length", "map(attribute='content')|list")
        return (f"({self.one_of('msgs', inner())} | {self.one_of('selectattr', 'rejectattr')}"
                f"('{self.one_of('role', 'content', 'a')}'{test}) | {end})")

    def dict(self, depth):
        kind, inner = self.rng.randrange(5), lambda: self.dict(depth + 1)
        if depth > 3 or kind < 2:
            return self.rng.choice(DICTS)
        if kind == 2:
            pairs = [f"{self.rng.choice(STRINGS + INTEGERS)}: {self.expression(depth + 1)}"
                     for _ in range(self.rng.randrange(3))]
            return "{" + ", ".join(pairs) + "}"
        if kind == 3:
            return f"dict({inner()}, z={self.expression(depth + 1)})"
        return f"({inner()}).{self.one_of('items()', 'keys()', 'values()', 'get(1)', 'get(2, 5)', 'copy()')}"

    def print(self, expression=None):
        text = self.expression() if expression is None else expression
        return (f"{self.rng.choice(BLANKS)}{{{{{self.one_of('', '-', '')} {text} {self.one_of('', '-', '')}}}}}"
                f"{self.rng.choice(BLANKS)}")

    def tag(self, body):
        return (f"{self.rng.choice(BLANKS)}{{%{self.one_of('', '-', '+', '')} {body} {self.one_of('', '-', '', '+')}%}}"
                f"{self.rng.choice(BLANKS)}")

    def body(self, depth):
        return "".join(self.statement(depth + 1) for _ in range(self.rng.randrange(1, 3)))

    def loop(self, depth):
        target, sequence = self.one_of(
            ("x", self.list(1)), ("x", self.expression(1)), ("k, x", f"{self.dict(1)}.items()"), ("x", "msgs"),
            ("x", "range(num)"), ("k, x", "d|dictsort"), ("x", "words|select('string')"))
        shown = self.one_of("loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex", "x",
                            "loop.previtem", "loop.nextitem", "loop.cycle(1,2)", "v", "loop.changed(x)", "loop.revindex0")
        jump = self.tag(self.one_of("break", "continue")) if self.rng.random() < 0.15 else ""
        otherwise = self.tag("else") + self.body(depth) if self.rng.random() < 0.3 else ""
        condition = f" if {self.expression(2)}" if self.rng.random() < 0.3 else ""
        return (self.tag(f"for {target} in {sequence}{condition}") + self.body(depth) + jump + self.print(shown)
                + otherwise + self.tag("endfor"))

    def function(self, depth):
        if self.rng.random() < 0.4:
            call = self.one_of("call c()", "call(q) c(2)", "call c(a=name)")
            return (self.tag("macro c(a=1)") + "[" + self.print(self.one_of("caller()", "caller(a)", "a")) + "]"
                    + self.tag("endmacro") + self.tag(call) + self.body(depth) + self.tag("endcall"))
        shown = self.one_of("a", "b", "a ~ b", "varargs", "kwargs", "caller()", "a|length", "name")
        call = self.one_of("m(1)", "m(1,2)", "m(b=3,a=name)", "m()", "m(1,2,3)", "m(1,c=2)", "m(*[1,2])", "m(**{'a':5})")
        return (self.tag(f"macro m(a, b={self.expression(2)})") + self.body(depth) + self.print(shown)
                + self.tag("endmacro") + self.print(call))

    def block(self, depth):
        kind = self.rng.randrange(6)
        if kind == 0:
            end = self.one_of("", " | upper", " | trim", " | replace('a','b') | length")
            return self.tag(f"set {self.one_of('v', 'w')}{end}") + self.body(depth) + self.tag("endset")
        if kind == 1:
            change = self.one_of("set ns.a = ns.a + 1", "set ns.b = ns.b ~ x", "set ns.c = x", "set ns.b = ns.b + 'q'")
            return (self.tag("set ns = namespace(a=0, b='')") + self.tag(f"for x in {self.list(1)}") + self.tag(change)
                    + self.tag("endfor") + self.print(self.one_of("ns.a", "ns.b", "ns.c", "ns.zz", "ns['a']")))
        if kind == 2:
            name = self.one_of("upper", "trim", "replace('a','b')|title", "indent(2)")
            return self.tag(f"filter {name}") + self.body(depth) + self.tag("endfilter")
        if kind == 3:
            return (self.tag(f"with v = {self.expression(2)}, w = {self.expression(2)}") + self.body(depth)
                    + self.print("v") + self.tag("endwith"))
        if kind == 4:
            return self.tag("generation") + self.body(depth) + self.tag("endgeneration")
        return (self.tag(f"for x in {self.one_of('[1,[2,[3]]]', 'nested.l')} recursive")
                + self.print("loop(x) if x is not number and x is not string else x") + self.print("loop.depth")
                + self.tag("endfor"))

    def statement(self, depth=0):
        kind = self.rng.randrange(12 if depth < 3 else 4)
        if kind == 0:
            return self.one_of("text", "<|im_start|>", " ", "\n", "{# c #}", "{#- c -#}", "\n  {# c #}\n",
                               "{% raw %} {{ x }} {% endraw %}")
        if kind < 4:
            return self.print()
        if kind == 4:
            return self.tag(f"set {self.one_of('v', 'w', 'x')} = {self.expression()}")
        if kind < 7:
            middle = self.tag(f"elif {self.expression()}") + self.body(depth) if self.rng.random() < 0.3 else ""
            end = self.tag("else") + self.body(depth) if self.rng.random() < 0.5 else ""
            return self.tag(f"if {self.expression()}") + self.body(depth) + middle + end + self.tag("endif")
        if kind < 9:
            return self.loop(depth)
        return self.function(depth) if kind == 9 else self.block(depth)


def program(rng):
    """(template, its variables)"""
    writer = Program(rng)
    source = "".join(writer.statement() for _ in range(rng.randrange(1, 4)))
    variables = {
        "name": rng.choice(["Bob", "", "<|x|>", "\u00e9\u00df", "it's"]),
        "text": rng.choice(["a\nb\r\nc", " pad ", '{"k": 1}', "tab\there"]), "num": rng.choice([0, 1, 3, -2]),
        "words": rng.choice([["b", "A", "c"], [], ["x"]]),
        "d": rng.choice([{"a": 1, "b": [1, 2]}, {}, {"z": None, "y": {"q": 1.5}}, {"items": 3, "a": "s"}]),
        "nested": {"l": [1, [2]], "k": {"a": {"b": "deep"}}},
        "msgs": rng.choice([[{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
                            [{"role": "system", "content": "s"}, {"role": "user", "content": "u", "a": 1}]])}
    return source, variables


def expected_of_program(source, variables):
    return render_reference(source, {"messages": [], "tools": None, "documents": None, "add_generation_prompt": False,
                                     **SPECIAL, **variables})
