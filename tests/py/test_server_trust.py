"""What the server does with those who ask too much, too slowly, without a key, or go away; and how it ends."""
import json
import os
import select
import signal
import socket
import threading
import time

import pytest

import server as S
from program import CLI, fail, start

S.require()
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "Spell pear."}]}
# A passes-hungry answer: one token a pass, and nothing ends it.
LONG = {"prompt": "What", "max_tokens": 500, "n": 40,
        "diffusion": {"stop_ids": "none", "strategy": "low_confidence_static", "denoising_steps": 8}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return S.export_all(tmp_path_factory.mktemp("trust"), ["dialog"])["dialog"]


def begin(server, body, path=TEXT):
    """A connection whose request is sent and not answered yet."""
    data = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return s


def test_the_queue_is_bounded_and_a_closed_connection_leaves_it(path):
    """Whole answers and streams: whoever goes away has what waits forgotten and what runs stopped."""
    with S.serving(path, "--rows", 64, "--parallel", 1, "--queue", 40) as s:
        for stream in (False, True):
            first = begin(s, {**LONG, "stream": stream})
            s.wait_for("seats_busy", 1)
            status, headers, text = s.ask("POST", TEXT, {**LONG, "n": 41, "max_tokens": 5})
            assert (status, json.loads(text)["error"]["code"]) == (503, "queue_full"), text
            assert int(headers["Retry-After"]) > 0
            assert s.error(TEXT, {**LONG, "n": 42, "max_tokens": 5})["param"] == "n"  # which no waiting helps
            assert s.error(TEXT, {**LONG, "n": 1, "prompt": ["x"] * 42, "max_tokens": 5})["param"] == "prompt"
            begun = time.monotonic()
            first.close()
            s.wait_for("seats_busy", 0)
            assert time.monotonic() - begun < 5 and s.metrics()["diffulex_edge_queue_length"] == 0
            s.post(CHAT, HELLO)
        assert s.metrics()["diffulex_edge_requests_refused_total"] == 2
        assert s.metrics()["diffulex_edge_answers_cancelled_total"] >= 2


def test_a_request_of_many_answers_lets_others_pass(path):
    with S.serving(path, "--rows", 64, "--parallel", 2) as s:
        many = begin(s, LONG)
        s.wait_for("seats_busy", 2)
        assert s.post(CHAT, HELLO)["choices"][0]["message"]["content"] == "p-e-a-r"
        assert s.metrics()["diffulex_edge_queue_length"] > 10  # most of the many still wait
        many.close()


def test_keys(path, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-1\n\nsecret-2\n")
    with S.serving(path, "--rows", 64, "--api-key-file", keys, "--api-key", "third") as s:
        assert s.get("/health") == {"status": "ok"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer secret-11"},
                        {"Authorization": "Bearer "}, {"Authorization": "Basic secret-1"}):
            for method, where, body in (("GET", "/v1/models", None), ("GET", "/metrics", None), ("POST", CHAT, HELLO),
                                        ("GET", "/nowhere", None)):
                error = s.error(where, body, 401, method, headers)
                assert error["code"] == "invalid_api_key" and error["type"] == "authentication_error"
        for key in ("secret-1", "secret-2", "third"):
            status, _, _ = s.ask("POST", CHAT, HELLO, {"Authorization": f"Bearer {key}"})
            assert status == 200
        assert s.ask("GET", "/props")[1]["WWW-Authenticate"] == "Bearer"
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "holds no key" in fail("serve", path, "--api-key-file", empty)
    assert "cannot" in fail("serve", path, "--api-key-file", tmp_path / "missing")


def test_other_addresses_need_a_key(path):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.invalid", "127.0.0.1.example.invalid"):
        assert "--api-key" in fail("serve", path, "--host", host, status=2)
    with S.serving(path, "--rows", 64, "--host", "0.0.0.0", "--insecure") as s:
        assert s.get("/health") and s.get("/v1/models", Host="any.example")
    assert fail("serve", path, "--host", "192.0.2.1", "--insecure", "--port", 0).startswith("cannot listen at '192.0.2.1'")
    assert fail("serve", path, "--host", "nothing.invalid", "--insecure").startswith("cannot find the address")


def test_pages_of_others_may_not_call(path):
    with S.serving(path, "--rows", 64, "--cors", "https://good.example") as s:
        for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"}, {"Origin": "https://evil.example"},
                        {"Origin": "null"}):
            assert s.error(CHAT, HELLO, 403, headers=headers)["code"] in ("host", "origin")
        for host in ("localhost", "localhost:1234", "127.0.0.1", "[::1]:80"):
            assert s.get("/v1/models", Host=host)
        status, headers, _ = s.ask("OPTIONS", CHAT, headers={"Origin": "https://good.example"})
        assert status == 204 and headers["Access-Control-Allow-Origin"] == "https://good.example"
        asked = {"Origin": "https://good.example", "Access-Control-Request-Headers": "authorization,x-stainless-retry-count"}
        assert s.ask("OPTIONS", CHAT, headers=asked)[1]["Access-Control-Allow-Headers"] == asked["Access-Control-Request-Headers"]
        assert s.ask("GET", "/props", headers={"Origin": "https://good.example"})[1]["Access-Control-Allow-Origin"]
        same = f"http://localhost:{s.port}"
        status, headers, _ = s.ask("GET", "/props", headers={"Origin": same, "Host": f"localhost:{s.port}"})
        assert status == 200 and "Access-Control-Allow-Origin" not in headers


def test_targets_may_be_whole_addresses(path):
    with S.serving(path, "--rows", 64) as s:
        for target in (f"http://127.0.0.1:{s.port}/health", "http://localhost/health?x=http://y", "HTTPS://[::1]:1/health"):
            assert s.get(target) == {"status": "ok"}
        assert s.ask("GET", "http://localhost")[2] == s.ask("GET", "http://localhost?x")[2] == s.ask("GET", "/")[2]
        assert s.post("http://localhost" + CHAT, HELLO)["choices"][0]["message"]["content"] == "p-e-a-r"
        for target in ("http://evil.example/health", "http://localhost@evil.example/health", "http://evil.example"):
            error = s.error(target, None, 403, "GET", {"Host": "localhost"})
            assert error["code"] == "host" and error["message"].endswith(f"not as '{target.split('/')[2]}'")
        assert s.error("http://localhost/health", None, 403, "GET", {"Host": "evil.example"})["message"].endswith("'evil.example'")
        for target, path in (("http://localhost/nowhere", "/nowhere"), ("http:///health", "http:///health"), ("ftp://localhost/", "ftp://localhost/")):
            assert s.error(target, None, 404, "GET")["message"] == f"there is no endpoint '{path}'"
        assert 'diffulex_edge_requests_total{endpoint="/health",status="200"}' in "".join(map(str, s.metrics()))
        assert s.get("/health") == {"status": "ok"}


def test_a_body_of_a_refused_length_is_not_waited_for(path):
    """Nor does who sends it all first lose the answer."""
    with S.serving(path, "--rows", 64) as s:
        n = (4 << 20) + 1
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n}\r\n\r\n".encode()
        got = s.raw(head)  # and none of the body
        assert got.startswith(b"HTTP/1.1 413 ") and b"Connection: close" in got and got.endswith(b"}")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
                c.sendall(head)
                assert c.recv(1) == b"H"  # it is on its way, and the body is not
                c.sendall(b"x" * n)
                while piece := c.recv(65536):
                    got = piece
                assert got.endswith(b"}")
        with socket.create_connection(("127.0.0.1", s.port), timeout=20) as held:
            held.sendall(head)
            while held.recv(65536):
                pass
            begun = time.monotonic()
            assert s.stop() == 0 and time.monotonic() - begun < 5  # whoever stays keeps nobody


def test_sizes_are_bounded(path):
    with S.serving(path, "--rows", 64) as s:
        assert s.error(CHAT, b'{"x": "' + b"y" * (4 << 20), 413)["message"]
        huge = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
        assert s.raw(huge).startswith(b"HTTP/1.1 413 ")
        chunk = b"%x\r\n%s\r\n" % (1 << 20, b"z" * (1 << 20))
        chunked = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert s.raw(chunked + 5 * chunk + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        expect = f"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        assert s.raw(expect.encode()).startswith(b"HTTP/1.1 404 ")
        assert s.error("/props", None, 431, "GET", {"X": "y" * 20000})["message"]
        assert b" 4" in s.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200000 + b"\r\n\r\n")[:20]
        odd = s.raw(b"GET /\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert odd.startswith(b"HTTP/1.1 404 ") and b"there is no endpoint '/?'" in odd


def test_requests_that_are_no_http(path):
    """What docs/SERVER.md says of each: an error in OpenAI's shape, a page of libmicrohttpd's, or the end of the connection."""
    with S.serving(path, "--rows", 64) as s:
        post = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        for data, word in ((b"GET /health HTTP/1.1\r\n\r\n", "no header 'Host'"),
                           (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "more than one header 'Host'"),
                           (post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "more than one header of 'Content-Length'"),
                           (post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "more than one header of 'Content-Length'"),
                           (post + b"Transfer-Encoding: gzip\r\n\r\n{}", "is not 'chunked'")):
            head, body = s.raw(data).split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in head, head
            assert word in json.loads(body)["error"]["message"]
        assert s.raw(b"GET /health HTTP/1.0\r\n\r\n").endswith(b'{"status":"ok"}')
        assert b"there is no endpoint '/a b'" in s.raw(b"GET /a b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for data, status in ((post + b"Content-Length: abc\r\n\r\n{}", 400), (post + b"Content-Length: -1\r\n\r\n{}", 400),
                             (post + b"Content-Length: " + b"1" * 40 + b"\r\n\r\n{}", 413),
                             (post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400), (b"MAKE TEA\r\n\r\n", 400),
                             (b"GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
                             (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505)):
            got = s.raw(data)
            assert got.startswith(b"HTTP/1.1 %d " % status) and b"<html>" in got, got
        for data in (b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\r\n" * 40):
            assert s.raw(data) == b""
        assert s.raw(b"\x00" * 100, timeout=0.1) == b""  # a first line that does not end
        assert s.get("/health") == {"status": "ok"}


def test_slow_clients_are_cut_off(path):
    """A byte now and then keeps nobody: headers and bodies have to be whole in time. Others are served meanwhile."""
    with S.serving(path, "--rows", 64, "--request-seconds", 1, "--parallel", 1) as s:
        slow = [socket.create_connection(("127.0.0.1", s.port), timeout=10) for _ in range(3)]
        slow[0].sendall(b"GET /health HTTP/1.1\r\nX-")
        slow[1].sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
        begun = time.monotonic()
        open_ones = set(slow)
        while open_ones and time.monotonic() - begun < 10:
            for each in list(open_ones):
                try:
                    if each is not slow[2]:
                        each.sendall(b"a")
                    each.settimeout(0.05)
                    if each.recv(4096) == b"":
                        open_ones.remove(each)
                except TimeoutError:
                    pass
                except OSError:
                    open_ones.remove(each)
            assert s.post(CHAT, HELLO)
        assert not open_ones and 0.9 < time.monotonic() - begun < 5


def test_idle_connections_shut_out_nobody(path):
    """Far more than there may be: those that do nothing go, and meanwhile whoever asks is answered, or told to come back."""
    with S.serving(path, "--rows", 64) as s:
        for crowd in (300, 600):
            idle = [socket.create_connection(("127.0.0.1", s.port), timeout=60) for _ in range(crowd)]
            assert s.get("/health") == {"status": "ok"}
            while (answer := s.ask("POST", CHAT, HELLO))[0] == 503:
                assert int(answer[1]["Retry-After"]) > 0 and answer[1]["Connection"] == "close"
                assert json.loads(answer[2])["error"]["code"] == "too_many_connections"
                select.select(idle, [], [], 1)  # until room is made
            assert answer[0] == 200
            for each in idle:
                each.close()


def test_who_does_not_read_holds_no_seat(path):
    with S.serving(path, "--rows", 64, "--parallel", 1) as s:
        lazy = begin(s, {**LONG, "n": 2, "max_tokens": 300, "stream": True, "logprobs": 5,
                         "diffusion": {**LONG["diffusion"], "steps": True}})
        s.wait_for("answers_total", 2)
        assert s.post(CHAT, HELLO)
        lazy.settimeout(20)
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            piece = lazy.recv(1 << 16)
            assert piece
            got += piece
        assert b"data: [DONE]" in got
        lazy.close()


def test_connections_are_kept(path):
    with S.serving(path, "--rows", 64) as s:
        connection = s.connect()
        for _ in range(3):
            for method, where, body, status in (("GET", "/health", None, 200), ("POST", CHAT, json.dumps(HELLO), 200),
                                                ("POST", "/nowhere", json.dumps(HELLO), 404), ("POST", CHAT, "{", 400),
                                                ("POST", CHAT, json.dumps({**HELLO, "stream": True}), 200)):
                connection.request(method, where, body)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == status
        connection.request("HEAD", "/health")
        assert connection.getresponse().read() == b""
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_waits_for_answers(path, number):
    server = S.Server(path, "--rows", 64, "--stop-seconds", 30)
    body = {**LONG, "n": 2, "max_tokens": 200}
    waiting = begin(server, body)
    server.wait_for("seats_busy", 2)
    got = []
    reader = threading.Thread(target=lambda: got.append(read_all(waiting)))
    reader.start()
    assert server.stop(number) == 0
    reader.join()
    assert got[0].startswith(b"HTTP/1.1 200 ") and json.loads(got[0].split(b"\r\n\r\n", 1)[1])["usage"]["completion_tokens"] == 400


def read_all(connection):
    got = b""
    while piece := connection.recv(65536):
        got += piece
    return got


@pytest.mark.parametrize("stream", [False, True])
def test_the_end_does_not_wait_forever(path, stream):
    server = S.Server(path, "--rows", 64, "--stop-seconds", 0)
    waiting = begin(server, {**LONG, "stream": stream})
    server.wait_for("seats_busy", 4)
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    got = read_all(waiting)
    assert b'"code":"stopping"' in got and b"[DONE]" not in got
    assert got.startswith(b"HTTP/1.1 200 " if stream else b"HTTP/1.1 503 ")


def test_the_log_has_no_prompts_unless_asked(path):
    for options, seen in (((), False), (("--log",), False), (("--log-prompts",), True)):
        with S.serving(path, "--rows", 64, *options) as s:
            s.post(CHAT, HELLO)
            s.post(TEXT, '{"prompt": "Spell\\u001b pear.",\n"max_tokens": 4}')
            s.error(TEXT, b"{\x1b")
        assert "\x1b" not in s.errors and all(line.startswith("diffulex-edge: ") for line in s.errors.splitlines())
        assert ("pear" in s.errors) == seen and ("POST /v1/completions 200" in s.errors) == bool(options)


def test_wrong_command_lines(path, tmp_path):
    for options in (["--port", "65536"], ["--parallel", 0], ["--parallel", 65], ["--kv-cache", "int3"], ["--api-key", ""]):
        assert start("serve", path, *options).returncode == 2
    for origin in ("evil", "https://good.example/", "https://good.example:443"):
        assert f"'{origin}' is no origin of web pages" in fail("serve", path, "--cors", origin, status=2)
    assert start("serve").returncode == 2 and start("serve", path, "extra").returncode == 2
    assert "'/nonexistent.pte'" in fail("serve", "/nonexistent.pte")
    with S.serving(path, "--rows", 64) as s:
        assert f"port {s.port}" in fail("serve", path, "--rows", 64, "--port", s.port)


def test_packed_weights_are_kept(path, tmp_path):
    for _ in range(2):
        with S.serving(path, "--rows", 64, "--pack-cache", tmp_path / "packs") as s:
            assert s.post(CHAT, HELLO)["choices"][0]["message"]["content"] == "p-e-a-r"
        assert s.errors == "" and len(list((tmp_path / "packs").glob("*.dlxpack"))) == 1
    (tmp_path / "file").write_text("")
    with S.serving(path, "--rows", 64, "--pack-cache", tmp_path / "file") as s:
        assert s.post(CHAT, HELLO)
    assert "no pack file: " in s.errors


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def counts_memory():
    """Under a sanitizer what is freed stays for a while, and elsewhere memory is not read from /proc."""
    with open(CLI, "rb") as f:
        return os.path.exists("/proc/self/status") and b"__asan_init" not in f.read()


def one_round(s, i):
    """16 requests: good and bad ones, disconnects, long prompts, constraints, noise."""
    for body in (HELLO, {**HELLO, "stream": True}, {**HELLO, "n": -1}, {"messages": [{"role": "user", "content": f"{i} " * 80}],
                 "max_tokens": 4}, {"messages": [{"role": "user", "content": "x" * 5000}]}):
        s.ask("POST", CHAT, body)
    for body in ({"prompt": f"{i}", "max_tokens": 3, "logprobs": 2}, {"prompt": "a" * 9000},
                 {"prompt": "x", "regex": f"{i}|[a-c]{{2}}", "max_tokens": 8}, {"prompt": "x", "regex": f"({i}"},
                 {"prompt": "x", "guided_json": {"enum": [i, i % 7]}, "max_tokens": 8}):
        s.ask("POST", TEXT, body)
    s.ask("POST", "/v1/responses", {"input": f"{i}", "text": {"format": {"type": "json_object"}}, "max_output_tokens": 9})
    s.ask("POST", CHAT, b"{" * (i % 900))
    s.ask("GET", "/metrics")
    begin(s, {**LONG, "n": 4, "stream": bool(i % 2)}).close()
    s.ask("POST", "/infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": 2})
    s.ask("GET", f"/{i}")


def test_memory_stays_flat(path):
    """A mix of requests over and over. More of them: DLX_SERVER_REQUESTS, also against a sanitizer's build, whose end tells leaks."""
    rounds = int(os.environ.get("DLX_SERVER_REQUESTS", "480")) // 16
    with S.serving(path, "--rows", 64, "--parallel", 2) as s:
        for i in range(rounds // 2):
            one_round(s, i)
        middle = resident(s.process.pid) if counts_memory() else 0
        for i in range(rounds // 2):
            one_round(s, i)
        s.wait_for("seats_busy", 0)
        if counts_memory():
            assert resident(s.process.pid) < middle + 4096, (middle, resident(s.process.pid))
