"""A program that forks while it decodes, and asks in the child what became of that; test_py_fork.py runs it under each Python.
Prints a line for each case: its name, and what the child got."""
import faulthandler
import multiprocessing
import os
import sys
import threading
import time
import traceback

import diffulex_edge as d

faulthandler.dump_traceback_later(60, exit=True)
path = sys.argv[1]
PROMPT = [5, 6, 7]
LONG = dict(algorithm="llada.generate", gen_length=96, block_length=8, steps=96, stop_ids=[], chat=False)
SHORT = dict(algorithm="llada.generate", gen_length=8, block_length=8, steps=8, stop_ids=[])


def slowly(step, ids):
    time.sleep(0.01)


def begun(model):
    stream = model.stream(PROMPT, on_step=slowly, keep_special=True, **LONG)
    next(stream)
    return stream


def busy(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    time.sleep(0.05)


def next_piece(model):
    stream = begun(model)
    return lambda: next(stream)


def stream_closed(model):
    stream = begun(model)
    return stream.close


def stream_dropped(model):
    kept = [begun(model)]
    return kept.clear


def model_at_rest(model):
    return lambda: model.generate(PROMPT, **SHORT)


def model_closed(model):
    kept = begun(model)
    return lambda: (model.close(), kept)[0]


def model_left(model):
    kept = begun(model)
    return lambda: (model.__exit__(None, None, None), kept)[0]


def session_busy(model):
    session = model.session()
    busy(lambda: session.complete(PROMPT, on_step=slowly, **{k: v for k, v in LONG.items() if k != "chat"}))
    return lambda: session.complete(PROMPT, **SHORT)


def batched(model):
    workspace = model.workspace(max_sessions=2)
    batcher = d.Batcher(workspace)
    seat = batcher.seat(workspace.session())
    return lambda: seat.complete(PROMPT, **SHORT)


def pool(model):
    shared = d.ThreadPool(2)
    return lambda: d.Model(path, pool=shared)


def tokenizer(model):
    of_file = model.tokenizer()
    return lambda: of_file.decode(of_file.encode("ab"))


def opened_anew(model):
    kept = begun(model)

    def act():
        assert kept
        with d.Model(path, threads=2) as own:
            return own.generate(PROMPT, **SHORT).finish_reason
    return act


def from_a_callback(model):
    """The fork is in a callback that the caller runs for the decode."""
    def act():
        return None
    act.callback = True
    return act


def tell(act, to):
    try:
        got = repr(act())
    except BaseException as error:  # noqa: B902
        got = f"{type(error).__name__}: {error}"
    os.write(to, got.encode())


def ask(case):
    with d.Model(path, threads=2) as model:
        act = case(model)
        back, to = os.pipe()
        if getattr(act, "callback", False):
            parent = os.getpid()
            child = []

            def fork(step, ids):
                if not child and os.getpid() == parent:
                    child.append(os.fork())
            try:
                model.generate(PROMPT, on_step=fork, **SHORT)
                got = "completed"
            except RuntimeError as error:
                got = f"{type(error).__name__}: {error}"
            if os.getpid() != parent:
                os.write(to, got.encode())
                os._exit(0)
            assert got == "completed"
            child, = child
        else:
            child = os.fork()
            if not child:
                status = 1
                try:
                    tell(act, to)
                    status = 0
                finally:
                    os._exit(status)
        os.close(to)
        answer = os.read(back, 4096).decode()
        assert os.waitpid(child, 0)[1] == 0, case
        os.close(back)
    print(case.__name__, answer, flush=True)


def in_a_pool(number):
    return model_of_parent.generate(PROMPT, **SHORT).finish_reason


CASES = (next_piece, stream_closed, stream_dropped, model_at_rest, model_closed, model_left, session_busy, batched, pool,
         tokenizer, opened_anew, from_a_callback)
try:
    for one in CASES:
        ask(one)
    model_of_parent = d.Model(path, threads=2)
    kept = begun(model_of_parent)
    with multiprocessing.get_context("fork").Pool(1) as workers:
        try:
            workers.map(in_a_pool, [1])
        except RuntimeError as error:
            print("multiprocessing", f"RuntimeError: {error}", flush=True)
    kept.close()
    print("parent", model_of_parent.generate(PROMPT, **SHORT).finish_reason)
except BaseException:   # noqa: B902
    traceback.print_exc()
    os._exit(1)
