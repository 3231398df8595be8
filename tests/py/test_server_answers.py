"""What the server answers: the texts of `generate`, streams, errors, and the smaller endpoints."""
import json
import math
import re
import threading

import pytest

import server as S
from program import DATA, ids_text, run_json, start

S.require()
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
FAMILIES = ("llada", "dream", "sdar", "fast_dllm_v2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return S.export_all(tmp_path_factory.mktemp("serve"), ("dialog", *FAMILIES))


@pytest.fixture(scope="module")
def dialog(files):
    with S.serving(files["dialog"], "--rows", 64) as s:
        yield s


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, files):
    with S.serving(files[request.param], "--rows", 64) as s:
        s.file, s.family = files[request.param], request.param
        yield s


def user(text):
    return {"messages": [{"role": "user", "content": text}]}


def content(chunks, index=0):
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"] if c["index"] == index)


def test_chat_is_generate(family):
    """Every family: the text and numbers of the program's own answer, whole and in pieces."""
    want = run_json("generate", family.file, "--prompt", "add: 6 + 2", "--max-new-tokens", 16)
    body = {**user("add: 6 + 2"), "max_tokens": 16}
    got = family.post(CHAT, body)
    assert got["choices"][0]["message"] == {"role": "assistant", "content": want["generated_text"]}
    assert got["choices"][0]["finish_reason"] == want["finish_reason"]
    assert got["usage"]["prompt_tokens"] == len(want["prompt_ids"])
    assert got["usage"]["completion_tokens"] == want["statistics"]["new_tokens"]
    assert got["diffusion"]["passes"] <= want["num_forwards"]
    assert got["object"] == "chat.completion" and got["id"].startswith("chatcmpl-") and got["model"] == family.file.stem
    chunks = family.chunks(CHAT, {**body, "stream_options": {"include_usage": True}})
    assert content(chunks) == want["generated_text"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 2) + [want["finish_reason"]]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == got["usage"]["completion_tokens"]
    assert all(c["usage"] is None for c in chunks[:-1]) and len({c["id"] for c in chunks}) == 1


@pytest.mark.parametrize("most", [1, 3, 7, 13])
def test_max_tokens_is_exact(family, most):
    got = family.post(TEXT, {"prompt": "repeat: dog cat dog", "max_tokens": most, "diffusion": {"stop_ids": "none"}})
    assert got["usage"]["completion_tokens"] == most and got["choices"][0]["finish_reason"] == "length"
    whole = family.post(TEXT, {"prompt": "repeat: dog cat dog", "max_tokens": 13, "diffusion": {"stop_ids": "none"}})
    if family.family in ("sdar", "fast_dllm_v2"):  # blocks do not see how long the answer may become
        assert whole["choices"][0]["text"].startswith(got["choices"][0]["text"].rstrip("\ufffd"))


def test_logprobs_are_of_accepted_tokens(family):
    """One for each token; at temperature 0, each the likeliest of its row."""
    body = {**user("add: 6 + 2"), "max_tokens": 16, "logprobs": True, "top_logprobs": 3}
    answer = family.post(CHAT, body)
    scores = answer["choices"][0]["logprobs"]["content"]
    assert len(scores) == answer["usage"]["completion_tokens"] > 0
    assert "".join(s["token"] for s in scores) == answer["choices"][0]["message"]["content"]
    for s in scores:
        assert s["bytes"] == list(s["token"].encode()) and -100 < s["logprob"] <= 0
        assert len(s["top_logprobs"]) == 3 and s["top_logprobs"][0]["logprob"] >= s["logprob"]
        assert s["top_logprobs"][0]["id"] == s["id"] and sum(math.exp(t["logprob"]) for t in s["top_logprobs"]) <= 1 + 1e-6
    pieces = [s for c in family.chunks(CHAT, body) for s in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [p["id"] for p in pieces] == [s["id"] for s in scores]


def test_logit_bias_bars_and_forces(family):
    body = {**user("add: 6 + 2"), "max_tokens": 4, "logprobs": True, "diffusion": {"stop_ids": "none"}}

    def ids(**more):
        return [t["id"] for t in family.post(CHAT, {**body, **more})["choices"][0]["logprobs"]["content"]]
    first = ids()
    assert len(first) == 4
    assert not set(first) & set(ids(logit_bias={str(i): -100 for i in first}))
    seven = family.post("/tokenize", {"content": "7"})["tokens"][0]
    assert ids(logit_bias={str(seven): 100}) == [seven] * 4


def test_frames_tell_every_token_once(dialog):
    chunks = dialog.chunks(CHAT, {**user("Spell pear."), "diffusion": {"steps": True}})
    frames = [c["diffusion"] for c in chunks if "diffusion" in c]
    assert all(c["choices"][0]["delta"] == {} for c in chunks if "diffusion" in c)
    assert [f["pass"] for f in frames] == list(range(1, len(frames) + 1))
    tokens = {}
    for frame in frames:
        for position, token, text, confidence in frame["changes"]:
            assert position not in tokens and isinstance(token, int) and 0 <= confidence <= 1
            tokens[position] = text
    assert "".join(tokens[i] for i in range(7)) == content(chunks) == "p-e-a-r"
    for alias in ({"stream_mode": "denoise"}, {"diffusing": True}):
        assert [c["diffusion"]["changes"] for c in dialog.chunks(CHAT, {**user("Spell pear."), **alias}) if "diffusion" in c
                ] == [f["changes"] for f in frames]
    assert not any("diffusion" in c for c in dialog.chunks(CHAT, {**user("Spell pear."), "stream_mode": "block_append"}))


def test_stop_strings_are_cut_and_never_begun(dialog):
    for stop in ("-a", ["zzz", "-a"], ["e-a-"]):
        want = "p-e" if stop != ["e-a-"] else "p-"
        answer = dialog.post(CHAT, {**user("Spell pear."), "stop": stop})
        assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == (want, "stop")
        assert content(dialog.chunks(CHAT, {**user("Spell pear."), "stop": stop})) == want


def test_several_prompts_and_answers(dialog):
    body = {"prompt": ["What", [39, 68], "p-e-"], "n": 2, "max_tokens": 6, "temperature": 1, "seed": 5}
    got = dialog.post(TEXT, body)
    assert [c["index"] for c in got["choices"]] == list(range(6))
    again = dialog.post(TEXT, body)
    assert [c["text"] for c in again["choices"]] == [c["text"] for c in got["choices"]]
    one = dialog.post(TEXT, {**body, "prompt": "p-e-", "n": 1, "seed": 6})["choices"][0]["text"]
    assert one == got["choices"][5]["text"]
    chunks = dialog.chunks(TEXT, body)
    for choice in got["choices"]:
        assert "".join(c["text"] for k in chunks for c in k["choices"] if c["index"] == choice["index"]) == choice["text"]
    ends = {str(dialog.post("/tokenize", {"content": t, "parse_special": True})["tokens"][0]): -100
            for t in ("<|endoftext|>", "<|im_end|>")}
    anew = {"prompt": "p-e-", "max_tokens": 12, "temperature": 2, "logit_bias": ends}
    seeds = {dialog.post(TEXT, anew)["choices"][0]["text"] for _ in range(8)}
    assert len(seeds) > 1  # without a seed every request draws anew


def test_many_at_once_are_as_alone(dialog):
    questions = [f"What is {i} + {7 * i}?" for i in range(12)]
    alone = [dialog.post(CHAT, user(q))["choices"][0]["message"]["content"] for q in questions]
    got = [None] * len(questions)

    def ask(i):
        got[i] = dialog.post(CHAT, user(questions[i]))["choices"][0]["message"]["content"]
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(questions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == alone
    dialog.wait_for("seats_busy", 0)


def test_prompts_that_begin_alike_are_run_once(files):
    system = {"role": "system", "content": "Answer in one word. " * 6}
    with S.serving(files["dialog"], "--rows", 64) as s:
        first = s.post(CHAT, {"messages": [system, *user("Spell pear.")["messages"]]})
        other = s.post(CHAT, {"messages": [system, *user("What is 3 + 4?")["messages"]]})
        assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        shared = other["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert shared % 8 == 0 and shared >= 64
    with S.serving(files["dialog"], "--rows", 64, "--keep", 0) as s:  # the same without
        s.post(CHAT, {"messages": [system, *user("Spell pear.")["messages"]]})
        alone = s.post(CHAT, {"messages": [system, *user("What is 3 + 4?")["messages"]]})
        assert alone["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert alone["choices"] == other["choices"]


def test_messages_of_clients(dialog):
    parts = [{"type": "text", "text": "Spell "}, {"type": "text", "text": "pear."}]
    assert dialog.post(CHAT, {"messages": [{"role": "user", "content": parts}]})["choices"][0]["message"]["content"] == "p-e-a-r"
    for role in ("system", "developer"):
        got = dialog.post("/apply-template", {"messages": [{"role": role, "content": "Be brief."}, *user("Hi")["messages"]]})
        assert got["prompt"].startswith("<|im_start|>system\nBe brief.")
    # What a user types is no control token.
    typed = dialog.post(CHAT, {**user("<|im_end|>"), "max_tokens": 1})["usage"]["prompt_tokens"]
    assert typed > dialog.post(CHAT, {**user("x"), "max_tokens": 1})["usage"]["prompt_tokens"] + 2


def test_responses(dialog):
    got = dialog.post(RESPONSES, {"input": "Spell pear.", "store": False, "metadata": {"a": "b"}})
    assert got["output"][0]["content"][0]["text"] == "p-e-a-r" and got["status"] == "completed"
    assert got["usage"]["output_tokens"] == 7
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Spell pear."}]},
             {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "p-e-a-r"}]},
             {"role": "user", "content": "And backwards?"}]
    assert dialog.post(RESPONSES, {"input": items})["output"][0]["content"][0]["text"] == "r-a-e-p"
    cut = dialog.post(RESPONSES, {"input": "Spell pear.", "max_output_tokens": 2})
    assert cut["status"] == "incomplete" and cut["incomplete_details"] == {"reason": "max_output_tokens"}
    events = [json.loads(e) for e in dialog.stream(RESPONSES, {"input": "Spell pear."})]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created" and events[-1]["type"] == "response.completed"
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == "p-e-a-r"
    assert dialog.error(RESPONSES, {"input": "x", "previous_response_id": "resp_1"})["param"] == "previous_response_id"
    assert dialog.error(RESPONSES, {"input": [{"type": "reasoning"}]})["param"] == "input[0]"


def test_tokens_there_and_back(dialog, files):
    text = "Hello, naïve 世界 <|im_end|>"
    got = dialog.post("/tokenize", {"content": text})["tokens"]
    assert ids_text(got) == start("tokenize", files["dialog"], text).stdout.strip()
    special = dialog.post("/tokenize", {"content": text, "parse_special": True})["tokens"]
    assert ids_text(special) == start("tokenize", files["dialog"], text, "--special").stdout.strip()
    assert dialog.post("/detokenize", {"tokens": got})["content"] == text
    pieces = dialog.post("/tokenize", {"content": "Hi", "with_pieces": True})["tokens"]
    assert "".join(p["piece"] for p in pieces) == "Hi"
    parts = dialog.post("/tokenize", {"content": "é\ufffd", "with_pieces": True})["tokens"]
    assert [p["piece"] for p in parts] == [[b] for b in "é\ufffd".encode()]
    chat = dialog.post(CHAT, {**HELLO, "max_tokens": 1, "logprobs": True, "logit_bias": {str(parts[0]["id"]): 100}})
    assert chat["choices"][0]["logprobs"]["content"][0]["bytes"] == [0xC3]
    assert dialog.error("/detokenize", {"tokens": [576]})["param"] == "tokens"
    assert dialog.error("/detokenize", {"tokens": "x"})["param"] == "tokens"
    assert dialog.error("/tokenize", {"content": 3})["param"] == "content"


@pytest.mark.parametrize("masks", [2, 5])
def test_infill_is_infill(family, masks):
    want = json.loads(start("infill", family.file, "--prefix", "repeat: dog ", "--suffix", " dog", "--length", masks,
                            "--json").stdout)["fills"]
    got = family.post("/infill", {"input_prefix": "repeat: dog ", "input_suffix": " dog", "n_predict": masks})
    assert (got["content"], got["tokens"]) == (want[0]["text"], want[0]["ids"])
    assert got["usage"]["completion_tokens"] == masks


def test_what_it_says_of_itself(dialog):
    assert dialog.get("/health") == {"status": "ok"}
    assert dialog.get("/v1/models")["data"] == [dialog.get("/v1/models/dialog")]
    assert dialog.get("/v1/models/dialog")["id"] == "dialog"
    assert dialog.error("/v1/models/other", None, 404, method="GET")["code"] == "model_not_found"
    props = dialog.get("/props")
    assert props["model"]["n_ctx"] == 512 and props["total_slots"] == 4 and props["row_budget"] == 64
    assert props["presets"] == ["exact", "balanced", "fast"]
    assert {"threshold", "temperature", "strategy"} <= {o["name"] for o in props["options"]}
    assert [s["id"] for s in dialog.get("/slots")] == [0, 1, 2, 3]
    assert "/" not in json.dumps(props["model"])  # no path of the machine
    before = dialog.metrics()
    dialog.post(CHAT, user("Spell pear."))
    after = dialog.metrics()
    assert after["diffulex_edge_completion_tokens_total"] == before["diffulex_edge_completion_tokens_total"] + 7
    key = 'diffulex_edge_requests_total{endpoint="/v1/chat/completions",status="200"}'
    assert after[key] == before[key] + 1


def test_the_row_budget_is_measured(files):
    with S.serving(files["dialog"]) as s:
        props = s.get("/props")
        rows = [m["rows"] for m in props["measured"]]
        assert rows == [1, 2, 4, 8, 16, 32, 64, 128, 256] and all(m["ms"] > 0 for m in props["measured"])
        assert props["row_budget"] in range(64, 257)
    with S.serving(files["llada"]) as s:  # each row sees every other: a pass takes what the file takes
        assert s.get("/props")["measured"] == []


def test_prompts_that_arrive_together_are_run_once(dialog):
    """Answers to one prompt, and requests that begin alike, all at once: one runs what they share."""
    before = dialog.metrics()
    body = {"prompt": "One after the other, they all came to the same place. " * 4, "n": 4, "max_tokens": 4, "temperature": 1, "seed": 1}
    got = dialog.post(TEXT, body)
    after = dialog.metrics()
    cached = "diffulex_edge_prompt_tokens_cached_total"
    blocks = got["usage"]["prompt_tokens"] // 8 * 8
    assert blocks >= 64 and after[cached] - before[cached] in (3 * blocks, 3 * (blocks - 8))
    alone = [dialog.post(TEXT, {**body, "n": 1, "seed": 1 + k})["choices"][0]["text"] for k in range(4)]
    assert [c["text"] for c in got["choices"]] == alone
    system = {"role": "system", "content": "Be as brief as you can possibly be, whatever it is. " * 3}
    answers = [None] * 4

    def ask(i):
        answers[i] = dialog.post(CHAT, {"messages": [system, *user(f"What is {i} + 4?")["messages"]]})
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    cold = [a for a in answers if a["usage"]["prompt_tokens_details"]["cached_tokens"] < 32]
    assert len(cold) == 1
    for i, a in enumerate(answers):
        assert a["choices"] == dialog.post(CHAT, {"messages": [system, *user(f"What is {i} + 4?")["messages"]]})["choices"]


HELLO = user("Hi")
WRONG = [
    ({**HELLO, "n": 0}, "n"), ({**HELLO, "n": 65}, "n"), ({**HELLO, "temperature": -1}, "temperature"),
    ({**HELLO, "temperature": "hot"}, "temperature"), ({**HELLO, "max_tokens": 0}, "max_tokens"),
    ({**HELLO, "max_tokens": 1.5}, "max_tokens"), ({**HELLO, "max_tokens": 600}, "messages"),
    ({**HELLO, "top_p": 2}, "top_p"), ({**HELLO, "presence_penalty": 1}, "presence_penalty"),
    ({**HELLO, "frequency_penalty": 0.1}, "frequency_penalty"), ({**HELLO, "min_p": 0.1}, "min_p"),
    ({**HELLO, "repetition_penalty": 1.1}, "repetition_penalty"), ({**HELLO, "stop": [""]}, "stop"),
    ({**HELLO, "stop": 3}, "stop"), ({**HELLO, "stop": ["a"] * 17}, "stop"), ({**HELLO, "logit_bias": {"x": 1}}, "logit_bias"),
    ({**HELLO, "logit_bias": {"1": 101}}, "logit_bias"), ({**HELLO, "logit_bias": {"576": 1}}, "logit_bias"),
    ({**HELLO, "top_logprobs": 2}, "top_logprobs"),
    ({**HELLO, "logprobs": True, "top_logprobs": 21}, "top_logprobs"), ({**HELLO, "stream": "yes"}, "stream"),
    ({**HELLO, "stream_options": {"include_usage": True}}, "stream_options"), ({**HELLO, "best_of": 3}, "best_of"),
    ({**HELLO, "diffusion": {"steps": True}}, "diffusion.steps"), ({**HELLO, "diffusion": {"treshold": 1}}, "diffusion.treshold"),
    ({**HELLO, "diffusion": {"threshold": 2}}, "diffusion.threshold"), ({**HELLO, "diffusion": {"n_cached": 8}}, "diffusion.n_cached"),
    ({**HELLO, "diffusion": {"cfg_scale": 1}}, "diffusion.cfg_scale"), ({**HELLO, "stream_mode": "all"}, "stream_mode"),
    ({**HELLO, "tool_choice": "required"}, "tool_choice"), ({**HELLO, "functions": [{"name": "f"}]}, "functions"),
    ({**HELLO, "modalities": ["text", "audio"]}, "modalities"), ({**HELLO, "function_call": {"name": "f"}}, "function_call"),
    ({**HELLO, "verbosity": "low"}, "verbosity"), ({**HELLO, "audio": {}}, "audio"), ({**HELLO, "made_up": []}, "made_up"),
    ({**HELLO, "web_search_options": {}}, "web_search_options"),
    ({**HELLO, "reasoning_effort": "low"}, "reasoning_effort"), ({**HELLO, "made_up": 1}, "made_up"), ({}, "messages"),
    ({"messages": []}, "messages"), ({"messages": "Hi"}, "messages"), ({"messages": ["Hi"]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].type"),
    ({**HELLO, "tools": [{"type": "function"}]}, "tools[0]"),
]


@pytest.mark.parametrize("body, param", WRONG, ids=[f"{i}-{p}" for i, (_, p) in enumerate(WRONG)])
def test_what_is_wrong_or_not_supported_is_named(dialog, body, param):
    error = dialog.error(CHAT, body)
    assert error["param"] == param and error["type"] == "invalid_request_error"


def test_more_of_what_is_wrong(dialog, files):
    for body in ("", "{", "[]", '{"messages": [], "messages": []}', b"\xff\xfe", '{"\\u0000": 1}', '{"n": 1e999}', "[" * 100000):
        assert dialog.error(CHAT, body)["param"] is None
    assert dialog.error(CHAT, {**HELLO, "max_tokens": 600})["code"] == "context_length_exceeded"
    for body, param in (({"prompt": 1}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [[576]]}, "prompt"),
                        ({"prompt": "x", "echo": True}, "echo"), ({"prompt": "x", "suffix": "y"}, "suffix"), ({}, "prompt"),
                        ({"prompt": ""}, "prompt"), ({"prompt": ["x"] * 65}, "prompt"), ({"prompt": ["x"] * 33, "n": 2}, "n"),
                        ({"prompt": "x", "logprobs": 6}, "logprobs")):
        assert dialog.error(TEXT, body)["param"] == param
    for body, param in (({}, "input_prefix"), ({"input_prefix": "x", "stream": True}, "stream"),
                        ({"input_prefix": "x", "n": 2}, "n"), ({"input_prefix": "x", "stop": "y"}, "stop"),
                        ({"input_prefix": "x", "n_predict": 600}, "n_predict")):
        assert dialog.error("/infill", body)["param"] == param
    assert dialog.error("/nowhere", {}, 404)["type"] == "not_found_error"
    assert dialog.error(CHAT, None, 405, "GET")["message"].endswith("takes POST")
    assert dialog.ask("GET", CHAT)[1]["Allow"] == "POST, OPTIONS"
    assert dialog.error("/props", {}, 405)["message"].endswith("takes GET")


MANY = ",".join(f'"{i}": 1' for i in range(50))
SENTENCES = [
    ('"seed": 1.5', "seed", "'seed': expected a whole number"), ('"seed": 18446744073709551616', "seed", "'seed': expected a whole number of up to 64 bits"),
    ('"max_tokens": 99999999999999999999', "max_tokens", "'max_tokens': expected a whole number"),
    ('"n": 1, "n": 1', None, "the body names a member twice: column "), ('"user": ' + "[" * 5000, None, "the body is nested too deeply"),
    ('"logit_bias": {%s, "x\\u0000": 1}' % MANY, None, "U+0000"),
    ('"stop": ["a", {"b": ["x\\u0000y"]}]', "stop[1].b[0]", "the body has the character U+0000, which no text may have, in 'stop[1].b[0]'"),
    ('"max_tokens": 2, "regex": "abc"', "max_tokens", "'max_tokens': the shortest text that the constraint accepts takes 3 tokens"),
    ('"json_schema": false', "json_schema", "accepts"), ('"regex": "(.)\\\\1"', "regex", "character 4: "),
    ('"regex": "\\\\bfoo\\\\b"', "regex", "character 1: "), ('"tool_choice": "required"', "tool_choice", "there are no 'tools' to call"),
    ('"repetition_penalty": 1.1', "repetition_penalty", "'repetition_penalty': sdar.generate does not have it"),
    ('"diffusion": {"%s": 1}' % ("\u20ac" * 40), "diffusion." + "?" * 64, "there is no decode option"),  # cut within a character
]


@pytest.mark.parametrize("members, param, sentence", SENTENCES, ids=[f"{i}-{s[1]}" for i, s in enumerate(SENTENCES)])
def test_sentences_name_what_the_client_said(dialog, members, param, sentence):
    error = dialog.error(CHAT, '{"messages": [{"role": "user", "content": "x"}], %s}' % members)
    assert error["param"] == param and sentence in error["message"] and "': option '" not in error["message"], error


def test_whole_numbers_beyond_63_bits(dialog):
    """A seed has 64 bits; elsewhere such a number is one of JSON's."""
    def text(seed):
        got = dialog.post(TEXT, '{"prompt": "Once", "temperature": 2, "max_tokens": 9, "logprobs": 1, "diffusion": {"stop_ids": "none"}, '
                                '"seed": %s}' % seed)
        return got["choices"][0]["logprobs"]["token_logprobs"]
    assert text(18446744073709551615) == text(-1) != text(18446744073709551614) == text(-2)
    schema = '{"type": "integer", "minimum": 7, "default": 18446744073709551615}'
    got = dialog.post(TEXT, '{"prompt": "x", "guided_json": %s, "max_tokens": 30, "seed": 9223372036854775808}' % schema)
    assert int(got["choices"][0]["text"]) >= 7


@pytest.mark.parametrize("name", ["json_schema", "guided_json"])
def test_a_schema_may_be_true(dialog, name):
    json.loads(dialog.post(TEXT, {"prompt": "x", name: True, "max_tokens": 20})["choices"][0]["text"])


def test_roles_that_the_template_passes_over(family, dialog):
    body = {"messages": [{"role": "user", "content": "hi"}, {"role": "critic", "content": "Spell pear."}]}
    for endpoint in (CHAT, "/apply-template"):
        assert dialog.error(endpoint, body)["param"] == "messages[1].role"
    status, _, text = family.ask("POST", "/apply-template", body)  # some write every role down
    assert status == 200 and "critic" in json.loads(text)["prompt"] or json.loads(text)["error"]["param"] == "messages[1].role"


# What OpenAI's parameters are by themselves, and their empty values; null is one of each.
COMMON = {"frequency_penalty": [0, 0.0], "logit_bias": [{}], "metadata": [{}, {"a": "b"}], "n": [1], "presence_penalty": [0], "seed": [7],
          "service_tier": ["auto", "default"], "store": [False, True], "stop": [[], ""], "stream": [False], "temperature": [0], "top_p": [1],
          "stream_options": [{}, {"include_usage": False}], "user": ["", "u"], "safety_identifier": [""], "prompt_cache_key": [""],
          "prompt_cache_retention": ["in_memory"], "model": ["", "gpt-4o"], "top_logprobs": [0]}
CHATS = {"tools": [[]], "tool_choice": ["auto", "none"], "parallel_tool_calls": [True, False]}
IDLE = {
    CHAT: {**COMMON, **CHATS, "audio": [], "function_call": ["none", "auto"], "functions": [[]], "logprobs": [False],
           "max_completion_tokens": [64], "max_tokens": [64], "modalities": [["text"], []], "prediction": [], "reasoning_effort": [],
           "response_format": [{"type": "text"}], "verbosity": ["medium"], "web_search_options": [], "min_p": [0], "top_k": [-1, 0]},
    TEXT: {**COMMON, "best_of": [1], "echo": [False], "logprobs": [], "max_tokens": [64], "suffix": [""], "top_logprobs": []},
    RESPONSES: {**COMMON, **CHATS, "background": [False], "conversation": [], "include": [[]], "instructions": [""], "max_output_tokens": [64],
                "max_tool_calls": [], "previous_response_id": [""], "prompt": [], "truncation": ["disabled", "auto"],
                "reasoning": [{}, {"effort": None, "summary": None}],
                "text": [{}, {"format": {"type": "text"}}, {"format": None, "verbosity": "medium"}, {"verbosity": None}]},
}
ASKED = {CHAT: user("Spell pear."), TEXT: {"prompt": "Once", "max_tokens": 16}, RESPONSES: {"input": "Spell pear."}}


@pytest.mark.parametrize("path", IDLE)
def test_what_changes_nothing_is_taken(dialog, path):
    def ask(**more):
        got = dialog.post(path, {**ASKED[path], **more})
        return got["output"][0]["content"] if path == RESPONSES else got["choices"]
    want = ask()
    for name, values in IDLE[path].items():
        for value in [None, *values]:
            if (name, value) != ("max_tokens", None):
                assert ask(**{name: value}) == want, (name, value)
    everything = {name: values[0] for name, values in IDLE[path].items() if values}
    assert ask(**everything) == want


def test_decode_options_reach_the_decoder(dialog, files):
    for options, flags in (({"preset": "fast"}, ["--preset", "fast"]), ({"threshold": 0.5}, ["--threshold", "0.5"]),
                           ({"strategy": "low_confidence_static", "denoising_steps": 4},
                            ["--strategy", "low_confidence_static", "--denoising-steps", "4"])):
        want = run_json("generate", files["dialog"], "--prompt", "Spell pear.", *flags)
        got = dialog.post(CHAT, {**user("Spell pear."), "diffusion": options, "max_tokens": 128})
        assert got["choices"][0]["message"]["content"] == want["generated_text"]
        assert got["diffusion"]["passes"] in (want["num_forwards"], want["num_forwards"] - want["statistics"]["prefill_passes"])


def tools_of(*names):
    return [{"type": "function", "function": {"name": n, "parameters": {"type": "object", "properties": {}}}} for n in names]


TEMPLATE = """{% if tools %}Tools: {{ tools | tojson }}. Answer <tool_call>\\n...\\n</tool_call>.
{% endif %}{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.arguments.x }}]{% endfor %}
{% endfor %}{{ begin }}"""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """The dialogue model behind a template of tools; what it answers is bent by logit_bias where a test needs it."""
    folder = tmp_path_factory.mktemp("tools")
    template = folder / "t.jinja"
    template.write_text(TEMPLATE)
    path = S.export(S.checkpoint("dialog"), folder / "tools.pte", "none", "--chat-template", template)
    with S.serving(path, "--rows", 64) as s:
        yield s


def test_tools_and_reasoning_in_prompts(scripted, dialog):
    weather = tools_of("weather")
    prompt = scripted.post("/apply-template", {**user("x"), "tools": weather})["prompt"]
    assert prompt.startswith("Tools: ") and '"weather"' in prompt
    assert "Tools" not in scripted.post("/apply-template", {**user("x"), "tools": weather, "tool_choice": "none"})["prompt"]
    called = {"role": "assistant", "content": None,
              "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"x": 41}'}}]}
    prompt = scripted.post("/apply-template", {"messages": [*HELLO["messages"], called, {"role": "tool", "content": "sun"}]})
    assert "[41]" in prompt["prompt"] and "sun" in prompt["prompt"]
    assert scripted.post(CHAT, {**user("Spell pear."), "tools": weather, "max_tokens": 8})["choices"][0]["finish_reason"]
    # An answer to a prompt that ends with <think> begins in its reasoning.
    thinking = {**user("p-e-"), "max_tokens": 6, "chat_template_kwargs": {"begin": "<think>\n"}}
    message = scripted.post(CHAT, thinking)["choices"][0]["message"]
    assert message["content"] == "" and message["reasoning_content"]
    pieces = scripted.chunks(CHAT, thinking)
    assert "".join(c["choices"][0]["delta"].get("reasoning_content", "") for c in pieces) == message["reasoning_content"]
    # SDAR's template has tools as well; the demo's does not mention them in another form.
    assert re.search("tool", json.dumps(dialog.error("/infill", {"input_prefix": "x", "tools": weather})))


def test_a_base_model_has_no_chat(tmp_path):
    path = S.export(S.ROOT / "demo" / "sudoku6-llada", tmp_path / "base.pte")
    with S.serving(path) as s:
        assert "no chat template" in s.error(CHAT, HELLO)["message"]
        assert s.error("/apply-template", HELLO)["param"] == "messages"
        assert s.post(TEXT, {"prompt": "1", "max_tokens": 4})["usage"]["completion_tokens"] <= 4
