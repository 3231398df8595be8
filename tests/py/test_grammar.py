"""Grammars in GBNF from text to answer: random ones against an independent recogniser (Earley), grammars as people use them, and
decodes of models, whose answers are always theirs, in Python and on the command line."""
import itertools
import json
import random

import diffulex_edge
import pytest
from diffulex_edge import Constraint
from earley import Recogniser, text_of
from exported_files import exported  # noqa: F401 - a fixture
from program import DATA, ROOT, export, fail, run

JSON = r"""
root   ::= object
value  ::= (object | array | string | number | "true" | "false" | "null") ws
object ::= "{" ws (member ("," ws member)*)? "}"
member ::= string ws ":" ws value
array  ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-cA-C] [0-9a-fA-F]{3})){0,9} "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,5}) ("." [0-9]{1,3})?
ws     ::= " "?
"""
SUM = r"""
# Left recursion, as a textbook has it.
root ::= sum "=" [0-9]{1,4}
sum ::= sum [-+] product | product
product ::= product [*/] atom | atom
atom ::= [0-9]{1,3} | "(" sum ")" | "-" atom
"""
LIST = r"""
root ::= item+
item ::= "- " [^\r\n]{1,9} "\n"
"""
C_LIKE = r"""
root ::= "int " name "(" ("int " name)? ")" block
block ::= "{" statement* "}"
statement ::= name "=" value ";" | "return " value ";" | "if(" value ")" block ("else" block)? | "while(" value ")" block
value ::= value [-+*/<>] value | name | [0-9]+ | "(" value ")" | name "(" (value ("," value)*)? ")"
name ::= [a-z] [a-z0-9]{0,3}
"""


@pytest.fixture(scope="module")
def tokenizer():
    return diffulex_edge.Tokenizer.from_folder(DATA / "checkpoints" / "sdar-tiny")


# ---- random grammars ----------------------------------------------------------------------------------------------------

def tree(draw, depth, names):
    kind = draw.random()
    if depth == 0 or kind < .35:
        return draw.choice([("text", "a"), ("text", "b"), ("text", ""), ("text", "ab"), ("class", "ab"),
                            *[("rule", name) for name in names] * 2])
    if kind < .7:
        return ("cat", [tree(draw, depth - 1, names) for _ in range(draw.choice([2, 2, 3]))])
    if kind < .88:
        return ("alt", [tree(draw, depth - 1, names) for _ in range(draw.choice([2, 2, 3]))])
    return ("repeat", tree(draw, depth - 1, names), *draw.choice([(0, None), (1, None), (0, 1), (0, 2), (2, 2), (1, 2)]))


def random_rules(draw):
    names = ["root", "r1", "r2"][:draw.randrange(1, 4)]
    ends = [("text", "a"), ("text", "ba"), ("cat", [("text", "a"), ("rule", draw.choice(names)), ("text", "b")])]
    return {name: ("alt", [tree(draw, 2, names), tree(draw, 2, names), draw.choice(ends)]) for name in names}


def test_random_grammars_against_earley(tokenizer):
    """What nests lies behind a character, so a depth as large as the text is long leaves nothing out."""
    draw, counts = random.Random(11), {"exact": 0, "cut": 0, "derived": 0, "refused": 0}
    texts = ["".join(t) for n in range(5) for t in itertools.product("ab", repeat=n)]
    for _ in range(30):
        rules = random_rules(draw)
        try:
            constraint = Constraint(tokenizer, grammar=text_of(rules), max_depth=4)
        except ValueError as error:
            assert "accepts no text" in str(error) or "automaton of more" in str(error) or "too long" in str(error), error
            counts["refused"] += 1
            continue
        independent = Recogniser(rules)
        for text in texts:
            derived = independent.accepts(text)
            assert constraint.accepts(text) == derived, (text, text_of(rules))
            counts["derived"] += derived
        counts["cut" if constraint.info.depth else "exact"] += 1
        constraint.close()
    assert counts["exact"] > 4 and counts["cut"] > 8 and counts["derived"] > 150 and counts["refused"] < 10, counts


# ---- grammars as people use them ----------------------------------------------------------------------------------------

def test_json(tokenizer):
    constraint = Constraint(tokenizer, grammar=JSON)
    assert constraint.info.depth >= 3
    for value in ({}, {"a": 1}, {"a": [1, {"b": None, "c": [True, "x\n\"é😀"]}], "d": -1.5}):
        assert constraint.accepts(json.dumps(value, ensure_ascii=False)), value
    for text in ("", "1", "[]", '{"a":}', '{"a":1', '{"a":01}', '{"a":"\n"}', '{"a":1,}', '{a:1}'):
        assert not constraint.accepts(text), text
    assert not Constraint(tokenizer, grammar=JSON, max_depth=1).accepts('{"a":{"b":{"c":{"d":1}}}}')


def test_arithmetic_and_statements(tokenizer):
    constraint = Constraint(tokenizer, grammar=SUM)
    assert constraint.accepts("1+2*-(3-4)/5=6") and constraint.accepts("+".join(["1"] * 400) + "=400")
    assert constraint.accepts("(" * 16 + "1" + ")" * 16 + "=1") and not constraint.accepts("(" * 17 + "1" + ")" * 17 + "=1")
    assert not constraint.accepts("1+=2") and not constraint.accepts("(1=1")
    constraint = Constraint(tokenizer, grammar=C_LIKE)
    assert constraint.accepts("int f(int a){a=a+1*2;if(a<f(a,2)){return (a);}else{}while(1){if(a){b=2;}}return 0;}")
    assert not constraint.accepts("int f(){return 0}") and not constraint.accepts("int f(){if(a){return 0;}")
    assert Constraint(tokenizer, grammar=LIST).info.depth == 0


def test_what_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"grammar, line 2, character 9: this rule is not defined"):
        Constraint(tokenizer, grammar="root ::= a\na ::= | nob\n")
    with pytest.raises(ValueError, match="tokens .* are not supported"):
        Constraint(tokenizer, grammar="root ::= <think>")
    with pytest.raises(ValueError, match="give one of them"):
        Constraint(tokenizer, grammar=LIST, regex="a")
    with pytest.raises(ValueError, match="automaton of more than"):
        Constraint(tokenizer, grammar=JSON, max_depth=12)
    with pytest.raises(ValueError, match="MB"):
        Constraint(tokenizer, grammar=JSON, max_bytes=10000)


# ---- decodes --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "fast_dllm_v2"])
def test_answers_of_every_family_are_derived(exported, family):  # noqa: F811
    with diffulex_edge.Model(exported(f"{family}-tiny")) as model:
        for seed in range(4):
            warm = {"temperature": 1.0, "seed": seed} if seed % 2 else {}
            prompt = [5 + seed, 6, 7 * seed + 1]
            value = json.loads(str(model.generate(prompt, grammar=JSON, max_new_tokens=60, **warm)))
            assert isinstance(value, dict)
            text = str(model.generate(prompt, grammar=SUM, max_new_tokens=24, **warm))
            assert Constraint(model.tokenizer(), grammar=SUM).accepts(text), text
        with pytest.raises(ValueError, match="shortest text that the constraint accepts takes"):
            model.generate([5, 6], grammar='root ::= "\\x01" root "\\x02" | "\\x01\\x02\\x03"', max_new_tokens=2)


def test_command_line(tmp_path):
    model = export(ROOT / "demo" / "dialog-sdar", tmp_path / "dialog.pte")
    grammar = tmp_path / "json.gbnf"
    grammar.write_text(JSON)
    assert isinstance(json.loads(run("generate", model, "Who?", "--grammar", grammar)), dict)
    grammar.write_text("root ::= x\n")
    assert "line 1, character 10: this rule is not defined" in fail("generate", model, "x", "--grammar", grammar)
    assert "--regex and --grammar: an answer has one of them" in fail("generate", model, "x", "--regex", "a", "--grammar", grammar,
                                                                     status=2)
