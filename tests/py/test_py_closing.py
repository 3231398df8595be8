"""Closing models, workspaces, batchers and sessions while something is open in them or runs on them."""
import copy
import gc
import pickle
import threading
import time

import pytest

import diffulex_edge
from diffulex_edge import Batcher, Model, running
from exported_files import exported  # noqa: F401

LONG = dict(algorithm="llada.generate", gen_length=96, block_length=96, steps=96)
PROMPT = [5, 6, 7]


@pytest.fixture
def model(exported):
    with Model(exported("llada-tiny", max_seq_len=128), threads=1) as opened:
        yield opened


def slowly(step, ids):
    time.sleep(0.005)


def in_thread(function):
    """(thread, list of its result or exception)"""
    out = []

    def run():
        try:
            out.append(function())
        except BaseException as error:  # noqa: B902
            out.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    return thread, out


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def test_closing_a_model_ends_the_decodes_of_other_threads(model):
    steps = []
    thread, out = in_thread(lambda: model.generate(PROMPT, on_step=lambda step, ids: (slowly(step, ids), steps.append(step)), **LONG))
    wait_for(lambda: len(steps) > 2)
    model.close()
    assert not running._jobs, "nothing runs behind close()"
    thread.join(30)
    completion, = out
    assert completion.finish_reason == "cancelled" and 2 < len(completion.generation.steps) < 96
    with pytest.raises(ValueError, match="closed"):
        model.generate(PROMPT)


def test_closing_a_model_ends_native_decodes_streams_and_engines(exported, model):
    native, first = in_thread(lambda: model.session().generate(PROMPT, on_step=slowly, **LONG))
    stream = model.stream(PROMPT, chat=False, on_step=slowly, **LONG)
    wait_for(lambda: len(running._jobs) == 2)
    model.close()
    assert not running._jobs
    native.join(30)
    assert first[0].finish_reason == "cancelled"
    assert "".join(stream) == stream.completion.text and stream.completion.finish_reason == "cancelled"


def test_forward_functions_are_cancelled_too(model):
    facts, calls = model.facts, []

    def forward(call):
        calls.append(call)
        time.sleep(0.002)
        return [[0.0] * facts.vocab_size] * len(call.rows)

    thread, out = in_thread(lambda: diffulex_edge.generate(forward, PROMPT, facts=facts, **LONG))
    wait_for(lambda: len(calls) > 2)
    for job in list(running._jobs):
        job.cancel()
    thread.join(30)
    assert isinstance(out[0], diffulex_edge.Cancelled) or out[0].finish_reason == "cancelled"


@pytest.mark.parametrize("error", [None, KeyError("mine"), KeyboardInterrupt("mine"), SystemExit(3)])
def test_open_seats_do_not_hide_the_users_exception(exported, error):
    caught = None
    try:
        with Model(exported("sdar-tiny")) as model, model.workspace(max_sessions=4) as workspace:
            batcher = Batcher(workspace)
            session = workspace.session()
            seat = batcher.seat(session)
            alone = workspace.session()
            if error is not None:
                raise error
    except BaseException as raised:  # noqa: B902
        caught = raised
    assert caught is error
    for thing in (seat, batcher, session, alone, workspace, model):
        assert thing._handle.closed and thing._handle.freed
    with pytest.raises(ValueError, match="closed"):
        seat.generate(PROMPT)


def test_leaving_a_batcher_ends_its_decodes_and_takes_the_seats_back(exported):
    with Model(exported("sdar-tiny")) as model, model.workspace(max_sessions=4) as workspace:
        steps = []
        with Batcher(workspace) as batcher:
            seat = batcher.seat(workspace.session())
            thread, out = in_thread(lambda: seat.complete(PROMPT, max_new_tokens=100, stop_ids=[],
                                                          on_step=lambda step, ids: (slowly(step, ids), steps.append(step))))
            wait_for(lambda: len(steps) > 2)
        thread.join(30)
        assert out[0].finish_reason == "cancelled"
        assert batcher._handle.freed and seat._handle.freed
        session = workspace.session()
        with session, Batcher(workspace) as batcher:
            seat = batcher.seat(session)
        assert session._handle.closed and seat._handle.closed


def test_explicit_close_still_refuses(exported):
    with Model(exported("sdar-tiny")) as model, model.workspace(max_sessions=2) as workspace:
        session, batcher = workspace.session(), Batcher(workspace)
        seat = batcher.seat(session)
        for thing in (session, batcher, workspace):
            with pytest.raises(RuntimeError, match="in use|seat"):
                thing.close()
        assert len(seat.generate(PROMPT, max_new_tokens=4).answer_ids) <= 4


def test_a_callback_cannot_close_what_it_runs_on(model):
    words = []

    def on_step(step, ids):
        for close in (model.close, lambda: model.__exit__(None, None, None)):
            with pytest.raises(RuntimeError, match="callback of a decode.*return False"):
                close()
        words.append(model.__exit__(KeyError, KeyError("x"), None))     # would hide the KeyError
        return False

    completion = model.generate(PROMPT, on_step=on_step, **LONG)
    assert completion.finish_reason == "cancelled" and words == [None]
    assert model.generate(PROMPT, **{**LONG, "steps": 2, "gen_length": 8, "block_length": 8}).generation.steps


def test_a_call_that_is_at_work_is_not_disturbed(model):
    session = model.session()
    with session._borrow():     # as a forward call of another thread does
        thread, out = in_thread(model.close)
        thread.join(30)
        assert out == [None] and session._handle.closed
        assert not session._handle.freed and not model._handle.freed, "freed under a call"
    assert session._handle.freed and model._handle.freed


def test_tokenizers_close_when_their_streams_do(model):
    tokenizer = model.tokenizer()
    stream = tokenizer.stream()
    model.close()
    with pytest.raises(ValueError, match="the tokenizer is closed"):
        tokenizer.encode("a")
    with pytest.raises(ValueError, match="closed"):
        stream.push([5])
    assert not tokenizer._handle.freed
    stream.close()
    assert tokenizer._handle.freed


def test_dropping_a_stream_cancels_it(model):
    stream = model.stream(PROMPT, chat=False, on_step=slowly, **LONG)
    job = stream._feed._job
    assert not job.ended
    del stream
    gc.collect()
    wait_for(lambda: job.ended)
    assert job.result.finish_reason == "cancelled"


def test_callbacks_run_on_the_callers_thread(model):
    seen = set()
    model.generate(PROMPT, on_step=lambda step, ids: seen.add(threading.current_thread()),
                   on_text=lambda text: seen.add(threading.current_thread()), chat=False,
                   **{**LONG, "steps": 4, "gen_length": 8, "block_length": 8})
    diffulex_edge.generate(
        lambda call: (seen.add(threading.current_thread()),
                      [[float(i == 9) for i in range(model.facts.vocab_size)]] * len(call.rows))[1],
        PROMPT, facts=model.facts, max_new_tokens=4)
    assert seen == {threading.main_thread()}


def test_nothing_native_is_copied(model):
    """A copy would be a second owner, whose end closes the first."""
    with model.workspace(max_sessions=1) as workspace:
        for thing in (model, model.session(), workspace, Batcher(workspace), model.tokenizer(), diffulex_edge.ThreadPool(1),
                      diffulex_edge.TextStream(model.tokenizer()), model.stream(PROMPT, max_new_tokens=1)):
            for make in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match=f"a {type(thing).__name__} cannot be copied or pickled; open another one"):
                    make(thing)
    completion = model.generate(PROMPT, max_new_tokens=1)
    for plain in (model.facts, completion):
        assert repr(pickle.loads(pickle.dumps(plain))) == repr(copy.deepcopy(plain)) == repr(plain)
