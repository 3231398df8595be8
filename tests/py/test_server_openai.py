"""The server and OpenAI's own client, as its users call it; and Prometheus' parser on what is counted."""
import asyncio
import json
from typing import Literal

import pytest

import server as S
from oracles import oracle

openai = oracle("openai", "OpenAI's client against the server is")
parser = oracle("prometheus_client.parser", "the text of /metrics is")
pydantic = oracle("pydantic", "answers in the form of a class are")
S.require()
SPELL = [{"role": "user", "content": "Spell pear."}]
KEY = "a-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S.serving(S.export_all(tmp_path_factory.mktemp("openai"), ["dialog"])["dialog"], "--rows", 64, "--api-key", KEY) as s:
        yield s


class City(pydantic.BaseModel):
    name: Literal["Rome", "Bonn"]
    days: int = pydantic.Field(ge=1, le=9)


class Trip(pydantic.BaseModel):
    """From here to there."""
    kind: Literal["train", "boat"]
    cities: list[City] = pydantic.Field(min_length=1, max_length=2)


@pytest.fixture(scope="module")
def callers(tmp_path_factory):
    """A client of the dialogue model behind a template that has tools."""
    folder = tmp_path_factory.mktemp("callers")
    (folder / "t.jinja").write_text("{% for t in tools or [] %}{{ t.function.name }} <tool_call>\n{% endfor %}{% for m in messages %}{{ m.content }}"
                                    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.id }}]{% endfor %}\n{% endfor %}")
    path = S.export(S.checkpoint("dialog"), folder / "tools.pte", "none", "--chat-template", folder / "t.jinja")
    with S.serving(path, "--rows", 64) as s, openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0) as c:
        yield c


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0) as c:
        yield c


def test_models(client):
    assert [m.id for m in client.models.list()] == ["dialog"]


def test_chat(client):
    got = client.chat.completions.create(model="any", messages=SPELL, logprobs=True, top_logprobs=1)
    assert got.choices[0].message.content == "p-e-a-r" and got.choices[0].finish_reason == "stop"
    assert [t.token for t in got.choices[0].logprobs.content] == list("p-e-a-r")
    assert got.usage.completion_tokens == 7


def test_streams_with_and_without_frames(client):
    for extra in ({}, {"diffusion": {"steps": True}}, {"stream_mode": "denoise"}):
        stream = client.chat.completions.create(model="any", messages=SPELL, stream=True, extra_body=extra,
                                                stream_options={"include_usage": True})
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "p-e-a-r"
        assert chunks[-1].usage.completion_tokens == 7


def test_async(server):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0) as c:
            answers = await asyncio.gather(*(c.chat.completions.create(model="any", messages=SPELL) for _ in range(6)))
            stream = await c.chat.completions.create(model="any", messages=SPELL, stream=True)
            return [a.choices[0].message.content for a in answers], [k async for k in stream]
    answers, chunks = asyncio.run(ask_all())
    assert answers == ["p-e-a-r"] * 6 and chunks[-1].choices[0].finish_reason == "stop"


def test_completions(client):
    got = client.completions.create(model="any", prompt=["p-e-", "p-e-"], max_tokens=3, logprobs=1)
    assert len(got.choices) == 2 and got.choices[0].text == got.choices[1].text
    pieces = client.completions.create(model="any", prompt="p-e-", max_tokens=3, stream=True)
    assert "".join(p.choices[0].text for p in pieces) == got.choices[0].text


def test_responses(client):
    got = client.responses.create(model="any", input="Spell pear.", instructions="Be brief.")
    assert got.output_text and got.status == "completed"
    with client.responses.stream(model="any", input="Spell pear.") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == "p-e-a-r"


def test_structured_output(client, server):
    for messages in (SPELL, [{"role": "user", "content": "What is 3 + 4?"}]):
        got = client.chat.completions.parse(model="any", messages=messages, response_format=Trip, max_tokens=100)
        assert isinstance(got.choices[0].message.parsed, Trip)
    with client.chat.completions.stream(model="any", messages=SPELL, response_format=Trip) as stream:
        events = list(stream)
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Trip)
    assert isinstance(next(e for e in events if e.type == "content.done").parsed, Trip)
    # Exactly as long as it may be: the client would take "length" for a part of it.
    tokens = client.chat.completions.parse(model="any", messages=SPELL, response_format=City).usage.completion_tokens
    assert client.chat.completions.parse(model="any", messages=SPELL, response_format=City, max_tokens=tokens).choices[0].message.parsed
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.parse(model="any", messages=SPELL, response_format=Trip, max_tokens=4)
    assert error.value.param == "max_tokens"
    assert isinstance(client.responses.parse(model="any", input="Spell pear.", text_format=Trip).output_parsed, Trip)
    with client.responses.stream(model="any", input="Spell pear.", text_format=Trip) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Trip)

    async def parse():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0) as c:
            return await asyncio.gather(*(c.chat.completions.parse(model="any", messages=SPELL, response_format=City) for _ in range(4)))
    answers = [a.choices[0].message.parsed for a in asyncio.run(parse())]
    assert isinstance(answers[0], City) and answers == answers[:1] * 4


def test_tools_of_chat(callers):
    tools = [openai.pydantic_function_tool(Trip), openai.pydantic_function_tool(City)]
    got = callers.chat.completions.parse(model="any", messages=SPELL, tools=tools, tool_choice="required", max_tokens=120)
    (call,) = got.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, {"Trip": Trip, "City": City}[call.function.name])
    named = {"type": "function", "function": {"name": "City"}}
    with callers.chat.completions.stream(model="any", messages=SPELL, tools=tools, tool_choice=named, max_tokens=120) as stream:
        list(stream)
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, City)
    back = [*SPELL, {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {
        "name": "City", "arguments": call.function.arguments}}]}, {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
    assert callers.chat.completions.create(model="any", messages=back, tools=tools, max_tokens=4).choices[0].finish_reason


def test_tools_of_responses(callers):
    tools = [openai.pydantic_function_tool(Trip)["function"] | {"type": "function"}]
    ask = {"model": "any", "input": "Spell pear.", "tools": tools, "max_output_tokens": 120}
    got = callers.responses.create(**ask, tool_choice="required")
    (call,) = got.output
    assert call.type == "function_call" and call.call_id.startswith("call_") and Trip(**json.loads(call.arguments))
    assert got.status == "completed" and got.output_text == "" and got.tools[0].name == "Trip" and got.tool_choice == "required"
    with callers.responses.stream(**ask, tool_choice={"type": "function", "name": "Trip"}) as stream:
        events = list(stream)
        (item,) = stream.get_final_response().output
    assert Trip(**json.loads(item.arguments)) == Trip(**json.loads(call.arguments))
    assert [e.type for e in events][2:-1] == ["response.output_item.added", "response.function_call_arguments.delta",
                                             "response.function_call_arguments.done", "response.output_item.done"]
    assert events[3].delta == item.arguments and events[2].item.id == events[3].item_id == item.id
    back = [{"role": "user", "content": "Spell pear."}, call, {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}]
    assert callers.responses.create(**{**ask, "input": back, "max_output_tokens": 3}).usage.output_tokens
    assert callers.responses.create(**ask, tool_choice="none").output[0].type == "message"
    for wrong, param in (({"tools": [{"type": "web_search"}]}, "tools[0]"), ({"include": ["file_search_call.results"]}, "include"),
                         ({"top_logprobs": 2}, "top_logprobs"), ({"input": [{"type": "function_call", "name": "x"}]}, "input[0]")):
        with pytest.raises(openai.BadRequestError) as error:
            callers.responses.create(**{**ask, **wrong})
        assert error.value.param == param


def test_scores_of_responses(client):
    ask = {"model": "any", "input": "Spell pear.", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    part = client.responses.create(**ask).output[0].content[0]
    assert "".join(t.token for t in part.logprobs) == "p-e-a-r" and all(len(t.top_logprobs) == 2 for t in part.logprobs)
    assert all(bytes(t.bytes).decode() == t.token and t.logprob <= 0 for t in part.logprobs)
    with client.responses.stream(**ask) as stream:
        pieces = [t for e in stream if e.type == "response.output_text.delta" for t in e.logprobs]
        final = stream.get_final_response().output[0].content[0].logprobs
    assert [t.token for t in pieces] == [t.token for t in final] == [t.token for t in part.logprobs]
    assert [t.logprob for t in final] == [t.logprob for t in part.logprobs]


def test_errors(client, server):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="any", messages=SPELL, presence_penalty=1)
    assert error.value.param == "presence_penalty"
    with pytest.raises(openai.AuthenticationError), openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0) as c:
        c.models.list()
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="any", input="x")


def test_metrics(client, server):
    client.models.list()
    status, headers, text = server.ask("GET", "/metrics", headers={"Authorization": f"Bearer {KEY}"})
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    assert families["diffulex_edge_requests"].type == "counter" and families["diffulex_edge_seats"].samples[0].value == 4
    labels = [s.labels for s in families["diffulex_edge_requests"].samples]
    assert {"endpoint": "/v1/models", "status": "200"} in labels


def test_more_at_once_than_there_may_be(server):
    """Every one of 300 requests is answered, or told to come back: none is cut off."""
    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0) as c:
            return await asyncio.gather(*(c.chat.completions.create(model="any", messages=SPELL, max_tokens=1) for _ in range(300)),
                                        return_exceptions=True)
    got = asyncio.run(all_of_them())
    refused = [g for g in got if isinstance(g, openai.InternalServerError)]
    assert all(g.status_code == 503 and g.code in ("queue_full", "too_many_connections") and int(g.response.headers["Retry-After"]) > 0
               for g in refused)
    assert len(refused) + sum(not isinstance(g, BaseException) for g in got) == 300, set(map(repr, got))
