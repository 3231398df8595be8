#!/usr/bin/env python3
"""serve_clients.py MODEL.pte [--clients 1,2,4,8,16] [--tokens 32] [--turns 3]: what a server gives its clients.

Starts `diffulex-edge serve` with as many seats as there are clients, each of which asks for one streamed answer of a fixed
length after the other, a token a pass unless --diffusion says otherwise. Prints, for each number of clients, tokens a second of
all together, how that compares with one client, the middle of the times to the first token, how many passes were for more than
one client, and how many calls and rows a pass had; the numbers of clients take turns, and the middle turn counts."""
import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from heldout import DEFAULT_PROGRAM, positive

# What reveals one token a pass; the other families' algorithms do so by themselves.
ONE_A_PASS = {"sdar": {"strategy": "low_confidence_static"}, "fast_dllm_v2": {"threshold": 1}}


class Failed(Exception):
    """What a server refused, in its words."""


class Server:
    def __init__(self, args, seats):
        self.process = subprocess.Popen([DEFAULT_PROGRAM, "serve", args.model, "--port", "0", "--parallel", str(seats), *args.options],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(self.process.wait() or 1)  # it has said why
        self.port = int(line.rsplit(":", 1)[1])

    def props(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/props")
        return json.loads(connection.getresponse().read())

    def stop(self):
        self.process.terminate()
        self.process.wait()


def one_answer(port, number, args, decoder):
    """Seconds to the first token, and tokens. (A checkpoint with random weights may have no text to say.)"""
    body = {"prompt": f"{args.prompt} {number}", "max_tokens": args.tokens, "stream": True,
            "stream_options": {"include_usage": True}, "diffusion": {"stop_ids": "none", "steps": True, **decoder}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun, first, tokens = time.monotonic(), None, 0
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    if response.status != 200:
        raise Failed(json.loads(response.read())["error"]["message"])
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise Failed(chunk["error"]["message"])
        if first is None and chunk["choices"] and chunk.get("diffusion", {}).get("changes"):
            first = time.monotonic() - begun
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    connection.close()
    return first if first is not None else time.monotonic() - begun, tokens


def turn(server, clients, args, decoder, number):
    before = server.props()["batching"]
    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        results = list(threads.map(lambda i: one_answer(server.port, 1000 * number + i, args, decoder), range(clients)))
    seconds = time.monotonic() - begun
    after = server.props()["batching"]
    passes, shared, calls, rows = (after[k] - before[k] for k in ("passes", "shared", "calls", "rows"))
    return (sum(tokens for _, tokens in results) / seconds, 1e3 * statistics.median(first for first, _ in results), shared / passes,
            calls / passes, rows / passes, 1e3 * seconds / passes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--clients", type=lambda text: [positive(n) for n in text.split(",")], default="1,2,4,8,16")
    parser.add_argument("--tokens", type=positive, default=32)
    parser.add_argument("--turns", type=positive, default=3)
    parser.add_argument("--prompt", default="Tell me about number")
    parser.add_argument("--diffusion", type=json.loads, help="options of the decoder, as JSON (default: those by which the family reveals one token a pass)")
    parser.add_argument("options", nargs="*", help="for serve, behind --")
    args = parser.parse_args()
    counts = args.clients
    server = Server(args, max(counts))
    seen = {n: [] for n in counts}
    try:
        decoder = ONE_A_PASS.get(server.props()["model"]["family"], {}) if args.diffusion is None else args.diffusion
        for number in range(args.turns):
            for n in counts:
                seen[n].append(turn(server, n, args, decoder, number))
    except Failed as error:
        sys.exit(f"serve_clients.py: the server refused: {error}")
    finally:
        server.stop()
    middle = {n: [statistics.median(column) for column in zip(*seen[n])] for n in counts}
    print("clients  tokens/s  times  first token  passes shared  calls, rows, ms a pass")
    for n in counts:
        rate, first, shared, calls, rows, ms = middle[n]
        print(f"{n:7} {rate:9.1f} {rate / middle[counts[0]][0]:6.2f} {first:9.0f} ms {100 * shared:13.0f} % {calls:7.2f} {rows:6.1f} {ms:7.1f}")


if __name__ == "__main__":
    main()
