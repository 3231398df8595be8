"""The server and OpenAI's own client, as its users call it; and Prometheus' parser on what is counted."""
import asyncio

import pytest

import server as S
from oracles import oracle

openai = oracle("openai", "OpenAI's client against the server is")
parser = oracle("prometheus_client.parser", "the text of /metrics is")
S.require()
SPELL = [{"role": "user", "content": "Spell pear."}]
KEY = "a-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S.serving(S.export_all(tmp_path_factory.mktemp("openai"), ["dialog"])["dialog"], "--rows", 64, "--api-key", KEY) as s:
        yield s


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
