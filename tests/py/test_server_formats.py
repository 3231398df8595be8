"""Answers that are bound: every name that clients have for it, what comes whole and in pieces, and what is refused."""
import json
import re
import threading

import pytest

import server as S

S.require()
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
POINT = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "to": {"enum": ["a", "b.c"]}},
         "required": ["x", "to"], "additionalProperties": False}
TEMPLATE = """{% if tools %}Tools: {{ tools | tojson }}. Answer <tool_call>\\n...\\n</tool_call>.
{% endif %}{% for m in messages %}{{ m.content }}
{% endfor %}{{ begin }}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S.serving(S.export_all(tmp_path_factory.mktemp("formats"), ["dialog"])["dialog"], "--rows", 64) as s:
        yield s


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    (folder / "t.jinja").write_text(TEMPLATE)
    path = S.export(S.checkpoint("dialog"), folder / "calls.pte", "none", "--chat-template", folder / "t.jinja")
    with S.serving(path, "--rows", 64) as s:
        yield s


def ask(text="Spell pear.", **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def schema_format(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "point", "schema": schema, **more}}


def is_point(text):
    got = json.loads(text)
    assert set(got) == {"x", "to"} and type(got["x"]) is int and 0 <= got["x"] <= 99 and got["to"] in ("a", "b.c")


def is_object(text):
    assert isinstance(json.loads(text), dict)


def is_word(text):
    assert text in ("a", "b.c", "x|y")


def is_spelling(text):
    assert re.fullmatch(r"p-[a-z]-\d", text)


def is_sum(text):
    assert re.fullmatch(r"\d(\+\d)*", text)


GRAMMAR = 'root ::= root "+" digit | digit\ndigit ::= [0-9]\n'
WORDS = ["a", "b.c", "x|y"]
SPELLING = r"p-[a-z]-\d"
NAMES = [
    ({"response_format": {"type": "json_object"}}, is_object), ({"response_format": schema_format(POINT, strict=True)}, is_point),
    ({"response_format": schema_format(POINT)}, is_point), ({"response_format": {"type": "json_object", "schema": POINT}}, is_point),
    ({"json_schema": POINT}, is_point), ({"guided_json": POINT}, is_point), ({"guided_json": json.dumps(POINT)}, is_point),
    ({"structured_outputs": {"json": POINT, "regex": None, "json_object": False}}, is_point),
    ({"structured_outputs": {"json_object": True}}, is_object), ({"structured_outputs": {"choice": WORDS}}, is_word),
    ({"guided_choice": WORDS}, is_word), ({"guided_regex": SPELLING}, is_spelling), ({"regex": SPELLING}, is_spelling),
    ({"structured_outputs": {"regex": SPELLING}}, is_spelling), ({"grammar": GRAMMAR}, is_sum), ({"guided_grammar": GRAMMAR}, is_sum),
    ({"structured_outputs": {"grammar": GRAMMAR}}, is_sum),
]


@pytest.mark.parametrize("names, check", NAMES, ids=lambda v: "-".join(v) if isinstance(v, dict) else None)
def test_every_name_binds(server, names, check):
    for temperature in (0, 1):
        body = ask(**names, max_tokens=40, temperature=temperature, seed=3)
        choice = server.post(CHAT, body)["choices"][0]
        check(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
        chunks = server.chunks(CHAT, body)
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == choice["message"]["content"]
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    check(server.post(TEXT, {"prompt": "Spell pear.", **names, "max_tokens": 40})["choices"][0]["text"])


def test_the_answer_is_whole_or_refused_before_it_begins(server):
    """An answer of exactly as many tokens as it may have is whole; one that cannot be is no stream either."""
    exact = server.post(CHAT, ask(regex="p-e-[a-z]-r", max_tokens=7))
    assert exact["choices"][0]["finish_reason"] == "stop" and exact["usage"]["completion_tokens"] == 7
    for stream in (False, True):
        error = server.error(CHAT, ask(regex="p-e-[a-z]-r", max_tokens=6, stream=stream))
        assert error["param"] == "max_tokens" and "takes 7 tokens" in error["message"]
    assert server.error(CHAT, ask(regex="[a-z]{60}", max_completion_tokens=3))["param"] == "max_completion_tokens"
    cut = server.post(CHAT, ask(regex="p-e-[a-z]-r", stop="-e"))["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("p", "stop")
    for stop in ({"stop_ids": "none"}, {"stop_ids": [3]}):
        answer = ask(regex="[a-z]*", max_tokens=9, diffusion=stop)
        if stop["stop_ids"] == "none":
            assert server.error(CHAT, answer)["param"] == "regex"
        else:
            assert re.fullmatch("[a-z]*", server.post(CHAT, answer)["choices"][0]["message"]["content"])


def test_scores_and_passes_of_bound_answers(server):
    body = ask(response_format=schema_format(POINT), max_tokens=40, logprobs=True, top_logprobs=1)
    answer = server.post(CHAT, body)
    scores = answer["choices"][0]["logprobs"]["content"]
    assert "".join(s["token"] for s in scores) == answer["choices"][0]["message"]["content"]
    assert any(s["id"] != s["top_logprobs"][0]["id"] for s in scores)  # the scores are of the row as it is
    chunks = server.chunks(CHAT, {**body, "diffusion": {"steps": True}})
    assert sum("diffusion" in c for c in chunks) == answer["diffusion"]["passes"]
    several = server.post(CHAT, ask(guided_regex=SPELLING, n=3, temperature=1.5, seed=1))["choices"]
    assert len(several) == 3 and all(re.fullmatch(SPELLING, c["message"]["content"]) for c in several)


def test_text_format_of_responses(server):
    def output(format):
        return server.post(RESPONSES, {"input": "Spell pear.", "text": {"format": format}})["output"][0]["content"][0]["text"]
    is_point(output({"type": "json_schema", "name": "point", "schema": POINT, "strict": True}))
    is_object(output({"type": "json_object"}))
    assert output({"type": "text"}) == "p-e-a-r"
    for format, param in (({"type": "json_schema", "name": "x"}, "text.format.schema"), ({"type": "xml"}, "text.format"),
                          ({"type": "json_schema", "name": "x", "schema": {"not": {}}}, "text.format.schema")):
        assert server.error(RESPONSES, {"input": "x", "text": {"format": format}})["param"] == param


WRONG = [
    ({"response_format": {"type": "xml"}}, "response_format"), ({"response_format": {}}, "response_format"),
    ({"response_format": "json"}, "response_format"), ({"response_format": schema_format(3)}, "response_format.json_schema.schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"type": "strin"})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"pattern": "(?=a)"})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"$ref": "http://elsewhere"})}, "response_format.json_schema.schema"),
    ({"json_schema": "{"}, "json_schema"), ({"guided_json": [1]}, "guided_json"), ({"guided_json": {"not": {}}}, "guided_json"),
    ({"regex": "a(b"}, "regex"), ({"regex": 3}, "regex"), ({"guided_regex": r"(a)\1"}, "guided_regex"),
    ({"regex": "[ab]*a[ab]{15}"}, "regex"), ({"regex": "a{9000}"}, "regex"), ({"guided_choice": []}, "guided_choice"), ({"guided_choice": "a"}, "guided_choice"),
    ({"guided_choice": ["a", 1]}, "guided_choice"), ({"structured_outputs": {"structural_tag": {}}}, "structured_outputs.structural_tag"),
    ({"structured_outputs": {"regex": "["}}, "structured_outputs.regex"), ({"structured_outputs": 1}, "structured_outputs"),
    ({"grammar": "root ::= x"}, "grammar"), ({"grammar": {}}, "grammar"), ({"regex": "a", "guided_json": {}}, "regex"), ({"response_format": {"type": "json_object"}, "guided_choice": ["a"]}, "guided_choice"),
    ({"tool_choice": "required"}, "tool_choice"), ({"tool_choice": "maybe"}, "tool_choice"),
]


@pytest.mark.parametrize("names, param", WRONG, ids=[f"{i}-{p}" for i, (_, p) in enumerate(WRONG)])
def test_what_cannot_be_bound_is_named(server, names, param):
    for _ in range(2):  # and again, where it is known
        assert server.error(CHAT, ask(**names))["param"] == param
    if "tool_choice" not in names:
        assert server.error(TEXT, {"prompt": "x", **names})["param"] == param
        assert server.error("/infill", {"input_prefix": "x", **names})["param"] == param


def test_a_gap_is_not_bound(server):
    assert server.error("/infill", {"input_prefix": "x", "regex": "a"})["param"] == "regex"


def test_constraints_are_built_once(server):
    """However many ask for it at one time."""
    before = server.metrics()
    body = ask(regex="(ab|cd)[e-g]{3}", max_tokens=12)
    threads = [threading.Thread(target=server.post, args=(CHAT, body)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = server.metrics()
    assert after["diffulex_edge_constraints_built_total"] == before["diffulex_edge_constraints_built_total"] + 1
    assert after["diffulex_edge_constraints_found_total"] == before["diffulex_edge_constraints_found_total"] + 5
    assert after["diffulex_edge_constraint_bytes"] > 0


# ---- tools ----------------------------------------------------------------------------------------------------------


def tool(name, **properties):
    parameters = {"$defs": {"place": {"enum": ["Rome", "Bonn"]}}, "type": "object", "properties": properties,
                  "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", city={"$ref": "#/$defs/place"}, days={"type": "integer", "minimum": 1, "maximum": 9}),
         {"type": "function", "function": {"name": "now"}}]


def check_call(call):
    assert call["type"] == "function" and call["id"].startswith("call_")
    arguments = json.loads(call["function"]["arguments"])
    if call["function"]["name"] == "now":
        assert arguments == {}
    else:
        assert call["function"]["name"] == "weather"
        assert set(arguments) == {"city", "days"} and arguments["city"] in ("Rome", "Bonn") and arguments["days"] in range(1, 10)


@pytest.mark.parametrize("choice, name", [("required", None), *(({"type": "function", "function": {"name": n}}, n)
                                                                 for n in ("weather", "now"))])
def test_a_call_that_is_asked_for_comes(scripted, choice, name):
    body = ask(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=80, logprobs=True)
    got = scripted.post(CHAT, body)["choices"][0]
    assert got["finish_reason"] == "tool_calls" and got["message"]["content"] is None
    (call,) = got["message"]["tool_calls"]
    check_call(call)
    assert name in (None, call["function"]["name"])
    chunks = scripted.chunks(CHAT, body)
    pieces = [c["choices"][0]["delta"]["tool_calls"] for c in chunks if "tool_calls" in c["choices"][0]["delta"]]
    assert [p["function"] for p in pieces[0]] == [call["function"]] and len(pieces) == 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def of(parameters):
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize("parameters", [{"properties": {"a": {"enum": ["u"]}}, "required": ["a"], "additionalProperties": False}, None,
                                        {"maxProperties": 0}, {"type": ["object", "null"], "maxProperties": 0},
                                        {"anyOf": [{"type": "string"}, {"type": "object", "maxProperties": 0}]}])
def test_arguments_are_an_object(scripted, parameters):
    """Whether their schema says so or not."""
    got = scripted.post(CHAT, ask(tools=[of(parameters)], tool_choice="required", max_tokens=80))["choices"][0]
    assert got["finish_reason"] == "tool_calls"
    arguments = json.loads(got["message"]["tool_calls"][0]["function"]["arguments"])
    assert arguments == ({"a": "u"} if parameters and "required" in parameters else {})


def test_what_is_bound_has_no_reasoning(scripted):
    """A prompt that begins one ends it: the whole answer is what was asked for."""
    thinks = {"chat_template_kwargs": {"begin": "<think>\n"}, "max_tokens": 80}
    closed = len(scripted.post("/tokenize", {"content": "</think>\n\n", "parse_special": True})["tokens"])
    for more, extra in ((ask(regex="a|<think>b"), ""), (ask(tools=TOOLS, tool_choice="required"), "<tool_call>\n")):
        got = scripted.post(CHAT, {**more, **thinks})
        message = got["choices"][0]["message"]
        assert "reasoning_content" not in message and (message["content"] in ("a", "<think>b") or message["tool_calls"])
        free = scripted.post(CHAT, {**more, **thinks, "regex": None, "tool_choice": None, "max_tokens": 1})["usage"]["prompt_tokens"]
        begun = len(scripted.post("/tokenize", {"content": extra, "parse_special": True})["tokens"]) if extra else 0
        assert got["usage"]["prompt_tokens"] == free + closed + begun


def test_calls_that_cannot_be_asked_for(scripted):
    for more, param in (({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
                        ({"tools": TOOLS, "regex": "a"}, "regex"), ({"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
                        ({"tools": TOOLS, "tool_choice": "required", "regex": "a"}, "regex"),
                        ({"tools": TOOLS, "tool_choice": "required", "max_tokens": 5}, "max_tokens"),
                        ({"tools": [of({"not": {}})], "tool_choice": "required"}, "tools[0].function.parameters"),
                        ({"tools": [of({"type": "string"})]}, "tools[0].function.parameters"),
                        ({"tools": [of({"type": ["null"]})]}, "tools[0].function.parameters"),
                        *(({"tools": [TOOLS[0], of(x)]}, "tools[1].function.parameters") for x in (5, "x", [], False))):
        assert scripted.error(CHAT, ask(**more))["param"] == param
    wrong = {"properties": {"x": {"type": "bogus"}}}
    error = scripted.error(CHAT, ask(tools=[*TOOLS, of(wrong)], tool_choice={"type": "function", "function": {"name": "f"}}))
    assert error["param"] == "tools[2].function.parameters" and "schema, #/properties/x: 'type' must be" in error["message"]
    error = scripted.error("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": wrong}],
                                             "tool_choice": "required"})
    assert error["param"] == "tools[0].parameters" and "schema, #/properties/x: " in error["message"]
    assert re.fullmatch("a|b", scripted.post(CHAT, ask(tools=TOOLS, tool_choice="none", regex="a|b"))["choices"][0]["message"]["content"])
