"""A running `diffulex-edge serve`, and what tests ask of it over HTTP."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from program import CLI, DATA, ROOT, export, start


def require():
    """The program has no server where libmicrohttpd was missing when it was built."""
    done = start("serve", "/nonexistent.pte", "--port", 0)
    if "built without libmicrohttpd" in done.stderr:
        pytest.skip("this program was built without libmicrohttpd: the server NOT checked", allow_module_level=True)


class Server:
    def __init__(self, path, *options, env=None):
        self.process = subprocess.Popen([CLI, "serve", str(path), "--port", "0", *map(str, options)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), (line, self.process.communicate(timeout=60))
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        self.errors = ""

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, text) of one request. A body that is no text or bytes goes as JSON."""
        connection = self.connect()
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def get(self, path, **headers):
        status, _, text = self.ask("GET", path, headers=headers)
        assert status == 200, text
        return json.loads(text)

    def post(self, path, body):
        status, _, text = self.ask("POST", path, body)
        assert status == 200, text
        return json.loads(text)

    def error(self, path, body, status=400, method="POST", headers=None):
        """The error of a request that must fail with this status; it has OpenAI's shape."""
        got, _, text = self.ask(method, path, body, headers)
        assert got == status, (got, text)
        error = json.loads(text)
        assert set(error) == {"error"} and set(error["error"]) == {"message", "type", "param", "code"}, text
        assert error["error"]["message"]
        return error["error"]

    def stream(self, path, body):
        """The events of a stream, from "[DONE]" on none; its raw lines are checked: data and comments, nothing else."""
        status, headers, text = self.ask("POST", path, {**body, "stream": True})
        assert status == 200, text
        assert headers["Content-Type"] == "text/event-stream"
        events = []
        for line in text.split("\n"):
            assert line == "" or line.startswith(("data: ", ":")), line
            if line.startswith("data: "):
                events.append(line[6:])
        return events

    def chunks(self, path, body):
        events = self.stream(path, body)
        assert events[-1] == "[DONE]" and events.count("[DONE]") == 1
        return [json.loads(e) for e in events[:-1]]

    def raw(self, data, timeout=20):
        """What comes back for these bytes until the server closes, or nothing comes for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            got = b""
            while True:
                try:
                    piece = s.recv(65536)
                except (TimeoutError, ConnectionResetError):
                    return got
                if not piece:
                    return got
                got += piece

    def metrics(self):
        status, _, text = self.ask("GET", "/metrics")
        assert status == 200
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def wait_for(self, name, value, seconds=120):
        """Until a metric has this value."""
        deadline = time.monotonic() + seconds
        while (got := self.metrics()["diffulex_edge_" + name]) != value:
            assert time.monotonic() < deadline, (name, got, value)
            time.sleep(0.02)

    def stop(self, number=signal.SIGTERM):
        """Exit status after a signal; standard error is kept."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, error = self.process.communicate(timeout=120)
        self.errors += error
        return self.process.returncode


@contextlib.contextmanager
def serving(path, *options, env=None):
    """A server that must end well, whatever was asked of it."""
    server = Server(path, *options, env=env)
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, (status, server.errors)


def checkpoint(name):
    return ROOT / "demo" / "dialog-sdar" if name == "dialog" else DATA / "checkpoints" / f"{name}-tiny"


def export_all(folder, names):
    return {name: export(checkpoint(name), folder / f"{name}.pte") for name in names}
