"""Constraints from text to answer: regular expressions against Python's re, schemas against the JSON Schema Test Suite, and
decodes of models, which always match, in Python and on the command line."""
import json
import random
import re

import diffulex_edge
import pytest
from diffulex_edge import Constraint
from exported_files import exported  # noqa: F401 - a fixture
from program import DATA, ROOT, export, fail, run, start

DATE = r"20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee", None]}, "maxItems": 2},
        "ok": {"type": "boolean"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def is_person(text):
    value = json.loads(text)
    return (list(value) == [key for key in PERSON["properties"] if key in value] and 1 <= len(value["name"]) <= 12
            and type(value["age"]) is int and 0 <= value["age"] <= 130 and isinstance(value.get("ok", True), bool)
            and len(value.get("likes", [])) <= 2 and all(v in ("tea", "coffee", None) for v in value.get("likes", [])))


@pytest.fixture(scope="module")
def tokenizer():
    return diffulex_edge.Tokenizer.from_folder(DATA / "checkpoints" / "sdar-tiny")


# ---- regular expressions ----------------------------------------------------------------------------------------------

ATOMS = ["a", "b", "c", "é", "😀", ".", "[ab]", "[^a]", "[a-c]", r"[^\W\d]", r"\d", r"\w", r"\s", r"\S", r"\D", "-", "0", r"\.",
         r"[\]\\x]", r"\x41", r"\u00e9", r"\n", "^", "$", "[é-ü]", "{", "}", "(?:ab|c)", "(?P<n>b)" ]
BEHIND = ["*", "+", "?", "{0,2}", "{2}", "{1,}", "{,2}", "*?", "+?", "??"]


def pattern(draw, depth):
    kind = draw.random()
    if depth == 0 or kind < .3:
        return draw.choice(ATOMS).replace("<n>", f"<n{draw.randrange(10 ** 9)}>")
    if kind < .6:
        return pattern(draw, depth - 1) + pattern(draw, depth - 1)
    if kind < .75:
        return f"({pattern(draw, depth - 1)}|{pattern(draw, depth - 1)})"
    return f"(?:{pattern(draw, depth - 1)}){draw.choice(BEHIND)}"


def test_regular_expressions_against_re(tokenizer):
    draw, matched, refused = random.Random(5), 0, 0
    for _ in range(250):
        text = pattern(draw, 4)
        official = re.compile(text, re.ASCII)
        try:
            constraint = Constraint(tokenizer, regex=text)
        except ValueError as error:
            assert "accepts no text" in str(error), (text, error)
            refused += 1
            continue
        for _ in range(40):
            sample = "".join(draw.choice("abcé😀ABx_ -019.\n\t\r]\\{}zü") for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4, 5])))
            assert constraint.accepts(sample) == bool(official.fullmatch(sample)), (text, sample)
            matched += bool(official.fullmatch(sample))
        constraint.close()
    assert matched > 1000 and refused < 40


# ---- schemas ----------------------------------------------------------------------------------------------------------

# Valid instances that are written in another way than the one that constraints write, and why.
OTHER_FORMS = {
    "keys that are not named": {
        ("additionalProperties.json", "additionalProperties are allowed by default"),
        ("allOf.json", "allOf"), ("allOf.json", "allOf with base schema"), ("anyOf.json", "anyOf complex types"),
        ("properties.json", "object properties validation"),
    },
    "keys in another order": {("const.json", "const with object")},
    "numbers that are equal": {
        ("const.json", "const with 0 does not match other zero-like types"), ("const.json", "const with 1 does not match true"),
        ("const.json", "const with -2.0 matches integer and float types"),
        ("const.json", "float and integers are equal up to 64-bit representation limits"),
        ("enum.json", "enum with 0 does not match false"), ("enum.json", "enum with [0] does not match [false]"),
        ("enum.json", "enum with 1 does not match true"), ("enum.json", "enum with [1] does not match [true]"),
        ("type.json", "integer type matches integers"),
    },
    "formats are kept to": {("format.json", f"{name} format") for name in ("ipv4", "date", "date-time", "time", "uuid")},
    "any value is nested two deep": {("uniqueItems.json", "uniqueItems=false validation")},
}
# What a refusal says, of each group that is refused.
REFUSALS = ("is not supported", "'oneOf' may describe the same instance", "'$ref' must be a JSON pointer", "accepts no text",
            "is only supported", "must be a whole number", "(\\p) are not supported")


def test_published_schema_cases(tokenizer):
    counts = {"accepted": 0, "valid": 0, "refused": 0, "groups": 0}
    other_forms = set().union(*OTHER_FORMS.values())
    seen = set()
    for line in (DATA / "constraint" / "json_schema_suite.jsonl").read_text().splitlines():
        group = json.loads(line)
        name = (group["file"], group["group"])
        counts["groups"] += 1
        try:
            constraint = Constraint(tokenizer, json_schema=group["schema"], max_depth=2)
        except ValueError as error:
            assert any(words in str(error) for words in REFUSALS), (name, error)
            if "accepts no text" in str(error):
                assert name in other_forms or not any(valid for _, _, valid in group["tests"]), name
            counts["refused"] += 1
            continue
        for description, instance, valid in group["tests"]:
            text = json.dumps(instance, ensure_ascii=False, separators=(",", ":"))
            accepted = constraint.accepts(text)
            assert accepted == constraint.accepts(json.dumps(instance, ensure_ascii=False)), (name, description)
            assert valid or not accepted, (name, description)
            if valid and not accepted:
                seen.add(name)
                assert name in other_forms, (name, description)
            counts["accepted"] += accepted
            counts["valid"] += valid
        constraint.close()
    assert other_forms - seen <= {("allOf.json", "allOf"), ("allOf.json", "allOf with base schema")}
    assert counts["groups"] - counts["refused"] >= 145 and counts["accepted"] >= 330, counts


@pytest.mark.parametrize("schema, message", [
    ({"properties": {"a": {"not": {}}}}, "JSON schema, #/properties/a: keyword 'not' is not supported"),
    ({"items": {"uniqueItems": True}}, "#/items: 'uniqueItems' is not supported"),
    ({"properties": {"a": {"$ref": "#"}}}, "#/properties/a: '$ref' leads back to a schema that it is part of"),
    ({"$ref": "http://example.com/x"}, "#: '$ref' must be a JSON pointer"),
    ({"pattern": "(?=a)"}, "#/pattern: regular expression, character 1: look-ahead"),
    ({"type": "strong"}, "#: 'type' must be null, boolean"),
    ({"anyOf": []}, "#: 'anyOf' must be a list"),
    ({"minLength": -1}, "#: 'minLength' must be a whole number"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "branches 0 and 1 of 'oneOf'"),
    ({"anyOf": [{"allOf": [{}, {"if": {}}]}]}, "#/anyOf/0/allOf/1: keyword 'if'"),
    ({"items": 3}, "#/items: a schema must be an object, true or false"),
    ({"maxLength": 40000}, "steps|states"),
    ("{", "JSON schema"),
])
def test_schemas_that_are_refused(tokenizer, schema, message):
    with pytest.raises(ValueError, match=message if "|" in message else re.escape(message)):
        Constraint(tokenizer, json_schema=schema)


def test_one_of_branches_that_are_referred_to(tokenizer):
    def branch(kind):
        return {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
    schema = {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": branch("a"), "b": branch("b")}}
    constraint = Constraint(tokenizer, json_schema=schema)
    assert [constraint.accepts('{"kind":"%s"}' % kind) for kind in "abc"] == [True, True, False]
    schema["$defs"]["b"] = branch("a")
    with pytest.raises(ValueError, match="branches 0 and 1"):
        Constraint(tokenizer, json_schema=schema)


def test_numbers_between_bounds(tokenizer):
    draw = random.Random(3)
    for _ in range(40):
        low, high = sorted(draw.choice([draw.randint(-30, 30), draw.randint(-2000, 2000)]) for _ in range(2))
        keys = [draw.choice(["minimum", "exclusiveMinimum"]), draw.choice(["maximum", "exclusiveMaximum"])]
        schema = {"type": "integer", keys[0]: low, keys[1]: high}
        if draw.random() < .3:
            del schema[draw.choice(keys)]
        fits = lambda x: (x >= schema.get("minimum", x) and x <= schema.get("maximum", x)  # noqa: B023, E731
                          and x > schema.get("exclusiveMinimum", x - 1) and x < schema.get("exclusiveMaximum", x + 1))
        if high - low < 2:
            continue
        constraint = Constraint(tokenizer, json_schema=schema)
        values = [draw.randint(-2500, 2500) for _ in range(60)] + [low + d for d in (-1, 0, 1)] + [high + d for d in (-1, 0, 1)]
        assert all(constraint.accepts(str(x)) == fits(x) for x in values), schema
        constraint = Constraint(tokenizer, json_schema={**schema, "type": "number"})
        for x in values:
            for fraction in ("", ".0", ".50", ".001"):
                assert constraint.accepts(f"{x}{fraction}") == fits(float(f"{x}{fraction}")) or (x == 0 and fraction), (schema, x)
                text = f"-{abs(x)}{fraction}"
                assert float(text) == 0 or constraint.accepts(text) == fits(float(text)), (schema, text)


def test_recursion_ends_at_the_depth(tokenizer):
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    for depth in range(1, 4):
        constraint = Constraint(tokenizer, json_schema=tree, max_depth=depth)
        for n in range(6):
            assert constraint.accepts('{"next":' * n + "{}" + "}" * n) == (n <= depth)


# ---- decodes ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "fast_dllm_v2"])
def test_answers_of_every_family_match(exported, family):  # noqa: F811
    with diffulex_edge.Model(exported(f"{family}-tiny")) as model:
        for seed in range(10):
            warm = {"temperature": 1.0, "seed": seed} if seed % 2 else {}
            prompt = [5 + seed, 6, 7 * seed + 1]
            ids = "ar.generate" if seed % 5 == 4 and family in ("sdar", "fast_dllm_v2") else None
            text = str(model.generate(prompt, regex=DATE, max_new_tokens=24, algorithm=ids, **warm))
            assert re.fullmatch(DATE, text), (seed, text)
            text = str(model.generate(prompt, json_schema=PERSON, max_new_tokens=70, **warm))
            assert is_person(text), (seed, text)


@pytest.fixture(scope="module")
def dialog(tmp_path_factory):
    return export(ROOT / "demo" / "dialog-sdar", tmp_path_factory.mktemp("dialog") / "dialog.pte")


def test_answers_of_the_demo_model(dialog):
    with diffulex_edge.Model(dialog) as model:
        for seed, preset in enumerate((None, "exact", "balanced", "fast")):
            for text in map(str, model.generate(["Who are you?", "What is in the box?"], json_schema=PERSON, preset=preset,
                                                temperature=0.7, seed=seed, max_new_tokens=80)):
                assert is_person(text), text
        # A constraint that the model's own answer fits changes nothing.
        free = model.generate("Who are you?")
        assert free.ids == model.generate("Who are you?", regex=r"[^\n]*").ids
        # Text as it comes is that of the end.
        pieces = list(model.stream("Who are you?", regex=DATE))
        assert re.fullmatch(DATE, "".join(pieces))


def test_keywords(exported, tokenizer, tmp_path):  # noqa: F811
    with diffulex_edge.Model(exported("sdar-tiny")) as model:
        made = Constraint(model.tokenizer(), regex="[ab]{3}")
        assert made.accepts("aba") and not made.accepts("ab")
        assert re.fullmatch("[ab]{3}", str(model.generate([5, 6], constraint=made)))
        session = model.session()
        generation = session.generate([5, 6], constraint=made, max_new_tokens=8)
        assert re.fullmatch("[ab]{3}", model.tokenizer().decode(generation.answer_ids))
        assert made.info.states == 4 and made.info.tokens > 1 and made.info.bytes > 0
        assert repr(made) == "<Constraint, regex '[ab]{3}'>"
        for wrong in ({"regex": "a", "json_schema": {}}, {"constraint": made, "regex": "a"}, {"constraint": "a"}, {"regex": "("}):
            with pytest.raises(ValueError):
                model.generate([5, 6], **wrong)
        with pytest.raises(ValueError, match="needs a tokenizer"):
            session.generate([5, 6], regex="a")
        with pytest.raises(ValueError, match="shortest text that the constraint accepts takes 3 tokens"):
            model.generate([5, 6], regex="[\\x01\\x02]{3}", max_new_tokens=2)
        kept = len(model.tokenizer()._constraints)
        model.generate([5, 6], regex="[ab]{3}")
        model.generate([5, 6], regex="[ab]{3}")
        assert len(model.tokenizer()._constraints) == kept + 1
        (tmp_path / "in.jsonl").write_text('{"ids": [5, 6]}\n{"ids": [7]}\n')
        model.generate_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", json_schema={"enum": ["x", 1]}, progress=False)
        answers = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert len(answers) == 2 and set(answers) <= {'"x"', "1"}
        made.close()
        made.close()
        with pytest.raises(ValueError, match="closed"):
            model.generate([5, 6], constraint=made)


# ---- command line -----------------------------------------------------------------------------------------------------

def test_command_line(dialog, tmp_path):
    schema = tmp_path / "person.json"
    schema.write_text(json.dumps(PERSON))
    assert re.fullmatch(DATE + "\n", run("generate", dialog, "When?", "--regex", DATE))
    assert is_person(run("generate", dialog, "Who?", "--json-schema", schema))
    answers = start("chat", dialog, "--regex", "(yes|no)[.!]", input="Is it?\nWas it?\n", stdin=None)
    assert re.fullmatch("((yes|no)[.!]\n+){2}", answers.stdout), answers
    assert "look-ahead" in fail("generate", dialog, "x", "--regex", "(?=a)")
    assert "one of them" in fail("generate", dialog, "x", "--regex", "a", "--json-schema", schema, status=2)
    assert "no-such" in fail("generate", dialog, "x", "--json-schema", tmp_path / "no-such.json")
    assert "shortest text" in fail("generate", dialog, "x", "--regex", "[\\x01\\x02]{9}", "--max-new-tokens", "3")
