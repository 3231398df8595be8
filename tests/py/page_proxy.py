"""A proxy between a browser and a server: puts the server behind a path, and answers some requests by itself as a test
says."""
import contextlib
import http.client
import http.server
import json
import threading

PREFIX = "/lab/model"


class Held:
    """An answer that begins and then does not go on; `closed` is set when the client has gone away."""

    def __init__(self, first):
        self.first, self.closed = first, threading.Event()


def chunk(delta=None, finish=None, **more):
    """One event of a chat stream."""
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}) + "\n\n"


def frame(block, number, changes, canvas, begin=0, end=None, ms=1.0):
    return chunk(diffusion={"block": block, "pass": number, "rows": 8, "milliseconds": ms, "canvas": canvas, "begin": begin,
                            "end": canvas if end is None else end, "changes": changes})


def last(tokens, passes):
    return chunk(finish="stop") + "data: " + json.dumps(
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens},
         "diffusion": {"passes": passes, "blocks": 1, "tokens_per_pass": tokens / passes, "milliseconds": 10.0}}) + "\n\n" + \
        "data: [DONE]\n\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve(None)

    def do_POST(self):
        self.serve(self.rfile.read(int(self.headers["Content-Length"])))

    def give(self, status, headers, body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def serve(self, body):
        proxy = self.server.proxy
        if not self.path.startswith(PREFIX + "/"):
            return self.give(404, {}, b"")
        path = self.path[len(PREFIX):]
        if body is not None:
            proxy.bodies.append(json.loads(body))
        scripted = proxy.scripts.pop(0) if body is not None and proxy.scripts else None
        if isinstance(scripted, Held):
            return self.hold(scripted)
        if scripted:
            return self.give(*scripted)
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        kept = {n: v for n, v in self.headers.items() if n in ("Content-Type", "Authorization", "If-None-Match")}
        connection.request(self.command, path, body, kept)
        answer = connection.getresponse()
        headers = {n: v for n, v in answer.getheaders() if n not in ("Transfer-Encoding", "Content-Length", "Connection", "Date")}
        self.give(answer.status, headers, answer.read())
        connection.close()

    def hold(self, held):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(held.first.encode())
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.recv(1)  # nothing more is sent, so this is the end of the connection
        held.closed.set()
        self.close_connection = True


class Proxy:
    def __init__(self, port):
        self.port, self.scripts, self.bodies = port, [], []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.proxy = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{PREFIX}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def script(self, *answers):
        """What the next POSTs get: text of a stream, (status, headers, bytes), or Held."""
        self.scripts += [(200, {"Content-Type": "text/event-stream"}, a.encode()) if isinstance(a, str) else a for a in answers]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
