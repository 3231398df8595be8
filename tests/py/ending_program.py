"""A program that ends in the middle of a decode, as its first argument says; test_py_ending.py runs it under each Python."""
import faulthandler
import os
import sys
import threading
import time

import diffulex_edge as d

faulthandler.enable()
how, path = sys.argv[1:3]
PROMPT = [5, 6, 7]
LONG = dict(algorithm="llada.generate", gen_length=96, block_length=8, steps=96, stop_ids=[], chat=False)
model = d.Model(path, threads=1)


def slowly(step, ids):
    time.sleep(0.01)


def stream(**more):
    return model.stream(PROMPT, on_step=slowly, keep_special=True, **{**LONG, **more})


def daemon(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    time.sleep(0.1)
    return thread


if how == "next":
    kept = stream()
    next(kept)
elif how == "break":
    for _ in stream():
        break
elif how == "unread":
    kept = stream()
elif how == "function":
    def first():
        for piece in stream():
            return piece
    first()
elif how == "with":
    with stream() as pieces:
        next(pieces)
elif how == "with-model":
    with model:
        for _ in stream():
            break
elif how == "with-model-error":
    with model:
        for _ in stream():
            raise KeyError("mine")
elif how == "exit":
    kept = stream()
    next(kept)
    sys.exit(3)
elif how == "error":
    kept = stream()
    next(kept)
    raise KeyError("mine")
elif how == "callback-exit":
    model.generate(PROMPT, on_step=lambda step, ids: sys.exit(3), **LONG)
elif how == "callback-error":
    def fails(step, ids):
        raise KeyError("mine")
    model.generate(PROMPT, on_step=fails, **LONG)
elif how == "daemon":
    daemon(lambda: model.generate(PROMPT, on_step=slowly, **LONG))
elif how == "daemon-native":
    def forever():
        while True:
            model.generate(PROMPT, **LONG)
    daemon(forever)
elif how == "daemon-forward":
    def forever():
        session = model.session()
        while True:
            session.forward(list(range(3, 99)))
    daemon(forever)
elif how == "daemon-python-forward":
    def forward(call):
        time.sleep(0.01)
        return [[0.0] * model.facts.vocab_size] * len(call.rows)
    daemon(lambda: d.generate(forward, PROMPT, facts=model.facts, gen_length=64, block_length=64, steps=64))
elif how == "daemon-export":
    def forever():
        while True:
            d.export_checkpoint(os.environ["CHECKPOINT"], path + ".again", progress=lambda done, total: None)
    daemon(forever)
elif how == "thread":       # an ordinary one: Python waits for it, and so its decode is not cut off
    def whole():
        completion = model.generate(PROMPT, on_step=slowly, **LONG)
        print("steps", len(completion.generation.steps), completion.finish_reason)
    threading.Thread(target=whole).start()
    time.sleep(0.05)
elif how == "batcher":
    workspace = model.workspace(max_sessions=3)
    batcher = d.Batcher(workspace)
    for _ in range(3):
        seat = batcher.seat(workspace.session())
        daemon(lambda seat=seat: seat.generate(PROMPT, **{k: v for k, v in LONG.items() if k != "chat"}))
elif how == "engine":
    from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
    engine = DiffusionEngine.from_pte(path)
    pieces = engine.generate_stream(PROMPT, DiffusionGenerationConfig(max_new_tokens=96, num_iterations=96, temperature=0,
                                                                      stop_ids=[], confidence_threshold=1.0))
    next(pieces)
elif how == "engine-blocks":
    from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
    engine = DiffusionEngine.from_pte(path)
    pieces = engine.generate_stream(PROMPT, DiffusionGenerationConfig(max_new_tokens=96, algorithm="blocks", stop_ids=[]))
    next(pieces)
elif how == "atexit":
    import atexit
    kept = stream()
    next(kept)

    @atexit.register
    def late():
        print("late", len(model.generate(PROMPT, **{**LONG, "gen_length": 8, "block_length": 8, "steps": 8})
                          .generation.steps))
elif how == "fork":
    kept = stream()
    next(kept)
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
elif how == "cycle":        # in the hands of the garbage collector
    kept = [stream()]
    kept.append(kept)
elif how == "asyncio":
    import asyncio

    async def main():
        async for _ in stream():
            break
    asyncio.run(main())
else:
    sys.exit(f"unknown: {how}")
print("end")
