"""The server and curl, as scripts call it: whole answers, streams that come while they are made, and exit statuses."""
import json
import shutil
import subprocess

import pytest

import server as S
from oracles import not_here

S.require()
if not shutil.which("curl"):
    not_here("curl is missing: scripts that call the server with it NOT checked")
KEY = "Authorization: Bearer a-key"
BODY = '{"messages": [{"role": "user", "content": "Spell pear."}]}'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S.serving(S.export_all(tmp_path_factory.mktemp("curl"), ["dialog"])["dialog"], "--rows", 64, "--api-key", "a-key") as s:
        yield s


def curl(server, path, *options, **kwargs):
    return subprocess.run(["curl", "-sS", "-H", KEY, *options, server.url + path], capture_output=True, text=True, timeout=60, **kwargs)


def test_whole_answers(server):
    for options, text in (([], None), (["--http1.0"], None), (["-H", "Expect: 100-continue"], None), (["-d", "@-"], BODY),
                          (["-H", "Transfer-Encoding: chunked", "-d", "@-"], BODY)):
        done = curl(server, "/v1/chat/completions", *(["-d", BODY] if text is None else []), *options, input=text)
        assert done.returncode == 0 and done.stderr == ""
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "p-e-a-r"
    # One connection for several, and the headers of one.
    done = curl(server, "/health", "-w", "%{http_code} %{num_connects}\n", server.url + "/health")
    assert done.stdout.splitlines()[1:] == ['{"status":"ok"}200 0'] and '{"status":"ok"}200 1' in done.stdout
    assert curl(server, "/health", "-I").stdout.startswith("HTTP/1.1 200 ")


def test_streams(server):
    body = {"prompt": "What", "max_tokens": 100, "stream": True,
            "diffusion": {"stop_ids": "none", "strategy": "low_confidence_static", "denoising_steps": 8, "steps": True}}
    done = curl(server, "/v1/completions", "--no-buffer", "-d", json.dumps(body))
    lines = done.stdout.split("\n\n")
    assert done.returncode == 0 and lines[-2:] == ["data: [DONE]", ""] and len(lines) > 50
    assert all(json.loads(line[6:])["object"] == "text_completion" for line in lines[:-2])


def test_a_stream_that_is_left(server):
    body = json.dumps({**json.loads(BODY), "stream": True, "max_tokens": 400, "diffusion": {"stop_ids": "none"}})
    done = subprocess.run(["sh", "-c", f"curl -sS -N -H '{KEY}' -d '{body}' {server.url}/v1/chat/completions | head -n 1"],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("data: {")
    assert curl(server, "/v1/chat/completions", "-d", BODY).returncode == 0


def test_statuses(server):
    assert curl(server, "/v1/chat/completions", "-f", "-d", "{}").returncode == 22     # 400
    done = curl(server, "/v1/chat/completions", "--fail-with-body", "-d", "{")
    assert done.returncode == 22 and json.loads(done.stdout)["error"]["type"] == "invalid_request_error"
    done = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", server.url + "/v1/models"],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "401")
    too_large = curl(server, "/v1/completions", "-w", "%{http_code}", "-d", "@-", input="x" * (5 << 20))
    assert too_large.returncode == 0 and too_large.stdout.endswith("413")
