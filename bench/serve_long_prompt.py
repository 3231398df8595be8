#!/usr/bin/env python3
"""serve_long_prompt.py MODEL.pte [--clients 4] [--prompt 2000] [--turns 3]: what those who read notice of a long prompt.

Starts `diffulex-edge serve`, and clients that each have a streamed answer made, one after the other. When all of them have had
text, one more client asks a prompt of many tokens. Prints, of the time until that one has its first token and of as much time
before it was asked: tokens a second of the others together, and the middle, the 99th of a hundred, and the longest of the gaps
between two tokens of one of them; and when the long prompt's first token came. The middle of several turns counts."""
import argparse
import http.client
import json
import statistics
import threading
import time

from serve_clients import Server


class Reader(threading.Thread):
    """Times at which tokens of a stream came, until `stop` is set: then its connection ends."""

    def __init__(self, port, ids, tokens, args, stop=None):
        super().__init__()
        self.port, self.stop, self.times, self.begun = port, stop, [], time.monotonic()
        self.body = {"prompt": ids, "max_tokens": tokens, "stream": True,
                     "diffusion": {"stop_ids": "none", "steps": True, **json.loads(args.diffusion)}}
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/completions", json.dumps(self.body))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        for line in answer:
            if line.startswith(b"data: {"):
                now = time.monotonic()
                for choice in [json.loads(line[6:])]:
                    self.times += [now] * len(choice.get("diffusion", {}).get("changes", []))
            if self.stop and self.stop.is_set():
                break
        connection.close()


def of_window(readers, begin, end):
    """Tokens a second of all, and the gaps of each that end in the window, in milliseconds and in order."""
    times = [[t for t in r.times if begin <= t < end] for r in readers]
    gaps = [1e3 * (b - a) for r in readers for a, b in zip(r.times, r.times[1:]) if begin <= b < end and b > a]
    return sum(map(len, times)) / (end - begin), sorted(gaps)


def turn(server, args, number):
    stop = threading.Event()
    readers = [Reader(server.port, [4 + (i + number * 13) % 500, 5, 6], args.tokens, args, stop) for i in range(args.clients)]
    while any(len(r.times) < 40 for r in readers):
        time.sleep(0.01)
    before = time.monotonic()
    long = Reader(server.port, [4 + (7 * i + number * 31) % 500 for i in range(args.prompt)], 1, args)
    long.join()
    first = long.times[0]
    stop.set()
    for r in readers:
        r.join()
    result = []
    for begin, end in ((min(r.times[4] for r in readers), before), (before, first)):
        rate, gaps = of_window(readers, begin, end)
        result += [rate, statistics.median(gaps), gaps[99 * len(gaps) // 100], gaps[-1]]
    return [*result, 1e3 * (first - before)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=1500, help="of the others' answers")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--diffusion", default='{"strategy": "low_confidence_static"}', help="options of the decoder, as JSON")
    parser.add_argument("options", nargs="*", help="for serve, behind --")
    args = parser.parse_args()
    args.options += ["--keep", "0"]
    server = Server(args, args.clients + 1)
    try:
        turns = [turn(server, args, number) for number in range(args.turns)]
    finally:
        server.stop()
    middle = [statistics.median(column) for column in zip(*turns)]
    print("                 tokens/s   gaps: middle      99 %   longest")
    for name, at in (("before it", 0), ("while it is read", 4)):
        print(f"{name:16} {middle[at]:8.1f} {middle[at + 1]:11.1f} ms {middle[at + 2]:6.1f} ms {middle[at + 3]:6.1f} ms")
    print(f"its first token after {middle[8]:.0f} ms")


if __name__ == "__main__":
    main()
