"""Real SIGINTs at many moments of a call: none is lost, none hurts. test_py_ending.py runs it under each Python.

arguments: what is called, how many signals, the .pte. Prints "got N lost N late N slowest S"."""
import os
import random
import signal
import sys
import threading
import time

import diffulex_edge as d

what, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PROMPT = [5, 6, 7]
LONG = dict(algorithm="llada.generate", gen_length=96, block_length=96, steps=96)
model = d.Model(path, threads=1)
session = model.session()


def engine(kind):
    import diffulex_edge.runtime as r
    if kind == "diffusion":
        opened = r.DiffusionEngine.from_pte(path)
        config = r.DiffusionGenerationConfig(max_new_tokens=96, num_iterations=96, temperature=0, confidence_threshold=1.0)
    elif kind == "blocks":
        opened = r.DiffusionEngine.from_pte(path)
        config = r.DiffusionGenerationConfig(max_new_tokens=48, num_iterations=8, temperature=0, algorithm="blocks")
    else:
        opened = r.InferenceEngine.from_pte(path)
        config = r.GenerationConfig(max_new_tokens=96, temperature=0)
    return lambda: opened.generate(PROMPT, config)


def ids_of(result):
    for name in ("ids", "answer_ids"):
        result = getattr(result, name, result)
    return result


def read(stream):
    with stream:
        return "".join(stream)


def forward(call):
    return [[0.0] * model.facts.vocab_size] * len(call.rows)


CALLS = {
    "generate": lambda: model.generate(PROMPT, chat=False, **LONG),
    "generate-steps": lambda: model.generate(PROMPT, chat=False, on_step=lambda step, ids: None,
                                             on_text=lambda text: None, **LONG),
    "complete": lambda: session.complete(PROMPT, **LONG),
    "session": lambda: session.generate(PROMPT, **LONG),
    "forward": lambda: [session.forward(list(range(3, 99))) for _ in range(60)],
    "python-forward": lambda: d.generate(forward, PROMPT, facts=model.facts, gen_length=32, block_length=32, steps=32),
    "stream": lambda: read(model.stream(PROMPT, chat=False, **LONG)),
    "export": lambda: [d.export_checkpoint(os.environ["CHECKPOINT"], path + ".again") for _ in range(4)],
}
for kind in ("diffusion", "blocks", "inference"):
    if what == kind:
        CALLS[kind] = engine(kind)
call = CALLS[what]

want = call()
random.seed(what)
started = time.monotonic()
call()
TIMES = 1 + int(0.05 / (time.monotonic() - started))    # calls in a row, of a length that a timer's moment can be in
lengths = [1.0]     # of so many calls; the shortest of the last ones is what the moments are spread over
got = lost = late = 0
slowest = 0.0
while got < count and late < 8 * count:
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(min(lengths[-5:]) * random.random(), send)
    try:
        timer.start()
        started = time.monotonic()
        for _ in range(TIMES):
            call()
        lengths.append(time.monotonic() - started)
        in_time = not sent
        timer.cancel()
        timer.join()
        time.sleep(0.01)
        if sent:
            lost += 1
        elif in_time:
            late += 1
    except KeyboardInterrupt:
        got += 1
        slowest = max(slowest, time.monotonic() - sent[0])
    timer.join()
again = call()
if what not in ("export", "forward"):
    assert ids_of(again) == ids_of(want), "the answer changed"
print(sys.version.split()[0], what, f"got {got} lost {lost} late {late} slowest {slowest:.2f}")
