"""Many sequences of one model: workspaces, forks, batches, the batcher, float16 caches, shared thread pools, and what
happens when all that is closed or dropped in any order."""

import ast
import gc
import gzip
import itertools
import json
import queue
import random
import re
import threading
from pathlib import Path

import pytest
from exported_files import DATA, MODELS, exported  # noqa: F401 - a fixture
from oracles import oracle

import diffulex_edge
from diffulex_edge import BatchError, Batcher, Model, ThreadPool, Workspace

numpy = oracle("numpy", "arrays of logits are")
PACKAGE = Path(diffulex_edge.__file__).parent


def random_ids(seed, n):
    return [random.Random(seed).randrange(1000) for _ in range(n)]


@pytest.fixture(scope="module", params=MODELS)
def family(request, exported):
    with Model(exported(f"{request.param}-tiny"), threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def sdar(exported):
    with Model(exported("sdar-tiny"), threads=2) as model:
        yield model


def same(a, b):
    return a.dtype == b.dtype == numpy.float32 and a.shape == b.shape and a.tobytes() == b.tobytes()


# ---- forks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", (0, 1, 63, 64, 68, 100, None))
def test_a_fork_is_the_session_that_stored_the_same(family, n):
    prefix, more = random_ids(1, 100), random_ids(2, 8)
    width = family.facts.attn_block
    kept = 100 if n is None else n // (width or 1) * (width or 1)
    with family.workspace(max_sessions=3) as workspace:
        first, alone = workspace.session(), workspace.session()
        first.forward(prefix, store=True, rows=[])
        before = workspace.free_positions
        with first.fork(kept if n is not None else None) as fork:
            assert workspace.free_positions == before, "pages are shared"
            assert fork.workspace is workspace and fork.reusable(prefix[:kept] + [5]) == first.reusable(
                prefix[:kept] + [5]
            )
            # The same rows of keys and values behind a prefix that only this session has.
            alone.forward(prefix, store=True, rows=[])
            assert same(fork.forward(more, kept), alone.forward(more, kept))
            fork.forward(more, kept, store=len(more) // 8 * 8)
            assert workspace.free_positions < before
            # Neither sees what the other writes.
            assert same(first.forward(more, 100), alone.forward(more, 100))
            with pytest.raises(ValueError, match="not stored"):
                fork.forward([1], kept + 9)
        assert workspace.free_positions == before - 128, "the fork's own pages are free again, the second session's not"


def test_forks_outlive_what_they_came_from(sdar):
    prefix = random_ids(3, 96)
    with sdar.workspace(max_sessions=2, kv_positions=128) as workspace:
        first = workspace.session()
        want = first.forward(prefix, store=True)
        fork = first.fork()
        first.close()
        again = fork.forward(prefix[92:], 92)
        assert same(again, want[92:])
        fork.truncate(0)
        assert workspace.free_positions == 128


def test_a_session_of_its_own_cannot_be_forked(sdar):
    with sdar.session() as session:
        assert session.workspace is None
        with pytest.raises(diffulex_edge.LimitError, match="Workspace.session"):
            session.fork()
    with sdar.workspace(max_sessions=1) as workspace:
        session = workspace.session()
        for open_one_more in (workspace.session, session.fork):
            with pytest.raises(diffulex_edge.LimitError, match="1 sessions are open"):
                open_one_more()
        with pytest.raises(ValueError, match="-1 positions"):
            session.fork(-1)


# ---- batches ---------------------------------------------------------------------------------------------------------


def scenario(open_session, seed):
    """[(session, ids, keywords)] of six sequences with different pasts, which open_session() makes."""
    draw = random.Random(seed)
    calls = []
    for i in range(6):
        session, past = open_session(), draw.choice((0, 4, 32, 64, 68, 96))
        if past:
            session.forward(random_ids(seed * 10 + i, past), store=True, rows=[])
        n = draw.choice((1, 4, 8, 31, 128 - past))
        keywords = {"start": past, "rows": sorted(draw.sample(range(n), draw.randrange(n + 1)))}
        if draw.random() < 0.5:
            keywords["store"] = True
        calls.append((session, random_ids(seed * 100 + i, min(n, 128 - past)), keywords))
    return calls


@pytest.mark.parametrize("threads", (1, 2, 3, 5))
@pytest.mark.parametrize("model,quantization", [*((m, "none") for m in MODELS), ("llada", "int8-dynamic")])
def test_a_batch_has_the_bits_of_its_calls_alone(exported, model, quantization, threads):
    path = exported(f"{model}-tiny", quantization)
    with Model(path, threads=threads) as many, Model(path, threads=1) as one:
        for seed in range(3):
            for max_rows in (0, 40) if one.facts.attn_block else (0,):  # full attention needs all its rows in one pass
                with many.workspace(max_sessions=6, max_rows=max_rows) as workspace:
                    calls = scenario(workspace.session, seed)
                    alone = scenario(lambda: one.session(max_rows=max_rows), seed)
                    got = workspace.forward(calls)
                    want = [session.forward(ids, **keywords) for session, ids, keywords in alone]
                    assert len(got) == 6 and all(same(a, b) for a, b in zip(got, want))
                    # And they stored the same.
                    tail = [(s, [7], {"start": 96, "context": [(0, 32)]}) for s, _, k in calls if k["start"] >= 32]
                    want = [s.forward([7], 96, [(0, 32)]) for s, _, k in alone if k["start"] >= 32]
                    assert all(same(a, b) for a, b in zip(workspace.forward(tail), want))


def test_batches_without_keywords_and_without_calls(sdar):
    with sdar.workspace(max_sessions=2) as workspace:
        a, b = workspace.session(), workspace.session()
        assert workspace.forward([]) == []
        first, second = workspace.forward([(a, [5, 6, 7]), (b, [8])])
        assert first.shape == (3, 1280) and same(second, b.forward([8]))


def test_errors_belong_to_their_calls(sdar):
    with sdar.workspace(max_sessions=4) as workspace:
        good, wrong, long, last = (workspace.session() for _ in range(4))
        with pytest.raises(BatchError) as info:
            workspace.forward(
                [
                    (good, [5, 6, 7, 8], {"store": True}),
                    (wrong, [5000]),
                    (long, [1] * 4, {"start": 126}),
                    (last, [9, 9]),
                ]
            )
        error = info.value
        assert isinstance(error, diffulex_edge.DlxError) and set(error.errors) == {1, 2}
        assert isinstance(error.errors[1], diffulex_edge.InvalidArgumentError) and "5000" in str(error.errors[1])
        assert isinstance(error.errors[2], diffulex_edge.LimitError) and "126" in str(error.errors[2])
        assert error.__cause__ is error.errors[1] is error.results[1] and error.status == error.errors[1].status
        assert str(error).startswith("2 of 4 calls failed; the first is number 1: forward: id 5000")
        assert same(error.results[3], last.forward([9, 9]))
        # The first call was made and stored.
        assert good.reusable([5, 6, 7, 8, 1]) == 4
        assert same(error.results[0], wrong.forward([5, 6, 7, 8]))


def test_sessions_that_do_not_belong_together(sdar):
    with sdar.workspace(max_sessions=2) as workspace, sdar.workspace(max_sessions=2) as other:
        a, b = workspace.session(), other.session()
        with pytest.raises(ValueError, match="another workspace"):
            workspace.forward([(a, [1]), (b, [1])])
        with pytest.raises(ValueError, match="another workspace"), sdar.session() as alone:
            workspace.forward([(alone, [1])])
        with pytest.raises(ValueError, match="twice"):
            workspace.forward([(a, [1]), (a, [2])])
        with pytest.raises(ValueError, match="closed"):
            a.close()
            workspace.forward([(a, [1])])
        with pytest.raises(ValueError, match="another workspace"), Batcher(workspace) as batcher:
            batcher.seat(b)


def test_a_batch_and_a_decode_do_not_share_a_session(sdar):
    with sdar.workspace(max_sessions=2) as workspace:
        a, b = workspace.session(), workspace.session()

        def on_step(step, ids):
            with pytest.raises(RuntimeError, match="in use"):
                workspace.forward([(b, [1]), (a, [1])])
            b.forward([1])  # was given back
            return False

        assert a.generate([5, 6, 7], max_new_tokens=4, on_step=on_step).finish_reason == "cancelled"


# ---- workspaces ------------------------------------------------------------------------------------------------------


def test_memory_and_free_positions(sdar):
    with sdar.workspace(max_rows=16, max_context=100, max_sessions=3, kv_positions=300) as workspace:
        memory = workspace.memory()
        assert memory == sdar.memory(16, 100, 3, 300) and memory.total == sum(memory)
        assert workspace.free_positions == 320 and (workspace.max_rows, workspace.max_context) == (16, 100)
        session = workspace.session()
        assert (session.max_rows, session.max_context) == (16, 100)
        session.forward([1] * 65, store=True, rows=[])
        assert workspace.free_positions == 192
        session.truncate(64)
        assert workspace.free_positions == 256
        for _ in range(2):
            workspace.session().forward([1] * 64, store=True, rows=[])
        session.forward([1], 64, store=True)
        with pytest.raises(diffulex_edge.LimitError, match="kv_positions"):
            others = [workspace.session() for _ in range(2)]
            others[0].forward([1] * 100, store=True, rows=[])
            others[1].forward([1] * 100, store=True, rows=[])


def test_memory_is_stated_without_opening(exported):
    path = exported("llada-tiny")
    with Model(path) as model:
        for bounds in ({}, {"max_rows": 8, "max_context": 64}, {"max_sessions": 4, "kv_type": "float16"},
                       {"max_sessions": 4, "kv_type": "int8"}):
            stated = diffulex_edge.inspect(path, **bounds)["memory"]
            memory = model.memory(**bounds)
            assert {key: stated[key] for key in (*memory._fields, "total")} == {
                **memory._asdict(),
                "total": memory.total,
            }
            assert stated["sessions"] == bounds.get("max_sessions", 1)
    with pytest.raises(diffulex_edge.LimitError):
        diffulex_edge.inspect(path, max_rows=1000)


@pytest.mark.parametrize(
    "wrong,words",
    (
        ({"kv_type": "int4"}, "float32, float16 or int8"),
        ({"max_sessions": 2000}, "max_sessions"),
        ({"max_rows": 129}, "129 rows"),
        ({"max_context": -1}, "-1 positions"),
        ({"kv_positions": -1}, "kv_positions"),
    ),
)
def test_wrong_bounds(sdar, wrong, words):
    for measure_or_open in (sdar.workspace, sdar.memory):
        with pytest.raises(ValueError, match=words):
            measure_or_open(**wrong)


def test_sessions_of_a_workspace_run_side_by_side(sdar):
    """Without a batcher: passes take turns, and nobody sees the others' rows."""
    prompt = random_ids(4, 9)
    want = sdar.session().generate(prompt, max_new_tokens=24, stop_ids=[]).output_ids
    got = []
    with sdar.workspace(max_sessions=4) as workspace:

        def work():
            for _ in range(3):
                with workspace.session() as session:
                    got.append(session.generate(prompt, max_new_tokens=24, stop_ids=[]).output_ids)

        in_threads(work, 4)
    assert got == [want] * 12


def in_threads(work, n):
    failures = []

    def guarded():
        try:
            work()
        except BaseException as error:  # noqa: B902 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# ---- the batcher -----------------------------------------------------------------------------------------------------


def recorded(model):
    traces = json.loads(gzip.decompress((DATA / "traces" / f"{model}-tiny.json.gz").read_bytes()))
    return [t for t in traces if t["weights"] == "float32"]


@pytest.mark.parametrize("name", MODELS)
def test_recorded_decodes_on_four_threads_that_share_passes(exported, name):
    """Every recorded decode of the family, of all its algorithms, four at a time, to the step."""
    traces, wrong = recorded(name), []
    todo = iter(traces)  # next() of it is one step

    def work():
        for trace in todo:
            with workspace.session() as session, batcher.seat(session) as seat:
                got = seat.generate(trace["prompt_ids"], algorithm=trace["algorithm"], **trace["options"])
            assert got.algorithm == trace["algorithm"] and got.num_forwards == trace["num_forwards"]
            steps = [
                [s.block, [s.start, s.rows, s.cached], [[a.position, a.id] for a in s.accepted]] for s in got.steps
            ]
            want = [[block, forward, [[p, t] for p, t, _ in accepted]] for block, forward, accepted in trace["steps"]]
            if got.output_ids != trace["output_ids"] or steps != want:
                wrong.append(trace["name"])

    with Model(exported(f"{name}-tiny", max_seq_len=0), threads=2) as model:
        with model.workspace(max_sessions=4) as workspace, Batcher(workspace) as batcher:
            in_threads(work, 4)
            counts = batcher.counts
    assert wrong == [] and len(traces) >= 45
    assert 0 < counts.shared <= counts.passes < counts.calls < counts.rows


def test_neighbours_do_not_change_a_decode_that_draws(sdar):
    """Sampling, autoregressive and block-wise, with the text that belongs to it."""
    jobs = [
        {"temperature": 1.0, "seed": 1, "max_new_tokens": 20},
        {"algorithm": "ar.generate", "max_new_tokens": 9},
        {"algorithm": "ar.generate", "temperature": 0.8, "seed": 2, "max_new_tokens": 12},
        {"threshold": 0.3, "max_new_tokens": 30},
    ]
    prompts = [random_ids(20 + i, 5 + 13 * i) for i in range(len(jobs))]
    want = [sdar.generate(p, stop_ids=[], **job) for p, job in zip(prompts, jobs)]
    with sdar.workspace(max_sessions=4) as workspace, Batcher(workspace, max_wait_us=500) as batcher:
        got, places = [None] * 4, iter(range(4))

        def work():
            i = next(places)
            with workspace.session() as session, batcher.seat(session) as seat:
                pieces = []
                got[i] = seat.complete(prompts[i], stop_ids=[], on_text=lambda t: pieces.append(t), **jobs[i])
                assert "".join(pieces) == got[i].text

        in_threads(work, 4)
    for a, b in zip(got, want):
        assert a.ids == b.ids and a.text == b.text
        assert [s[:5] for s in a.generation.steps] == [s[:5] for s in b.generation.steps]


def test_calls_meet_in_passes(sdar):
    """Two seats, neither in a hurry: nothing is computed before both wait, then both are."""
    with sdar.workspace(max_sessions=2) as workspace, Batcher(workspace, max_wait_us=30_000_000) as batcher:
        sessions = [workspace.session() for _ in range(2)]
        seats = [batcher.seat(s) for s in sessions]
        done = []
        thread = threading.Thread(target=lambda: done.append(seats[0].forward([5, 6, 7])))
        thread.start()
        thread.join(0.1)
        assert not done, "it waits for the other seat"
        second = seats[1].forward([8, 9])
        thread.join(30)
        assert len(done) == 1 and same(done[0], sessions[0].forward([5, 6, 7])) and same(
            second, sessions[1].forward([8, 9])
        )
        # And for nobody who has left.
        seats[1].close()
        assert same(seats[0].forward([5, 6, 7]), done[0])
        seats[0].close()


def test_seats(sdar):
    with sdar.workspace(max_sessions=2) as workspace, Batcher(workspace) as batcher:
        session = workspace.session()
        with batcher.seat(session) as seat:
            assert seat.session is session and seat.batcher is batcher and seat.model is sdar
            with pytest.raises(ValueError, match="seat already"):
                batcher.seat(session)
            with pytest.raises(RuntimeError, match="seat"):
                session.close()
            with pytest.raises(RuntimeError, match="seats must be given back"):
                batcher.close()
            with pytest.raises(ValueError, match="5000"):
                seat.forward([5000])
            first = diffulex_edge.generate(seat, [5, 6, 7, 8], max_new_tokens=8)
            assert first.output_ids == diffulex_edge.generate(session, [5, 6, 7, 8], max_new_tokens=8).output_ids
            again = seat.complete([5, 6, 7, 8, 9, 10], reuse=True, max_new_tokens=4)
            assert again.statistics.cached_tokens == 4
            assert "".join(seat.stream([5, 6, 7], max_new_tokens=8)) == sdar.generate([5, 6, 7], max_new_tokens=8).text

            def on_step(step, ids):
                with pytest.raises(RuntimeError, match="in use"):
                    seat.close()
                raise ZeroDivisionError("mine")

            with pytest.raises(ZeroDivisionError, match="mine"):
                seat.generate([5, 6, 7], on_step=on_step)
        with pytest.raises(ValueError, match="closed"):
            seat.forward([1])
        seat.close()
        session.close()
        with pytest.raises(ValueError, match="closed"):
            batcher.seat(session)
        with pytest.raises(ValueError, match="max_wait_us"):
            Batcher(workspace, max_wait_us=-1)


def test_errors_and_cancelling_stay_with_their_decode(sdar):
    prompt = random_ids(5, 6)
    want = sdar.session().generate(prompt, max_new_tokens=40, stop_ids=[]).output_ids
    outcomes, lock = [], threading.Lock()
    kinds = iter(("fail", "cancel", "whole", "whole"))

    def work():
        with lock:
            kind = next(kinds)
        steps = []

        def on_step(step, ids):
            steps.append(step)
            if len(steps) == 3 and kind == "fail":
                raise KeyError(kind)
            return not (len(steps) == 2 and kind == "cancel")

        with workspace.session() as session, batcher.seat(session) as seat:
            try:
                got = seat.generate(prompt, max_new_tokens=40, stop_ids=[], on_step=on_step)
                outcomes.append((kind, got.finish_reason, got.output_ids == want))
            except KeyError:
                outcomes.append((kind, "KeyError", False))

    with sdar.workspace(max_sessions=4) as workspace, Batcher(workspace) as batcher:
        in_threads(work, 4)
    assert sorted(outcomes) == [("cancel", "cancelled", False), ("fail", "KeyError", False),
                                ("whole", "length", True), ("whole", "length", True)]


def test_calls_that_are_none(sdar):
    with sdar.workspace(max_sessions=1) as workspace, workspace.session() as session:
        for call in ((session,), (None, [1]), (session, [1], {}, 2)):
            with pytest.raises(TypeError, match="is no call; expected"):
                workspace.forward([call])
        with pytest.raises(TypeError, match="a call has no 'begin'; expected start"):
            workspace.forward([(session, [1], {"begin": 0})])
        assert workspace.forward([]) == []


# ---- caches of fewer bits --------------------------------------------------------------------------------------------

CACHES = ("float16", "int8")


@pytest.mark.parametrize("kv_type,apart", (("float16", 2**-11), ("int8", 2**-5)))
def test_a_smaller_cache_is_nearly_as_good(family, kv_type, apart):
    ids = random_ids(6, 100)
    for block in sorted({0, family.facts.attn_block}):
        with family.session(kv_type=kv_type) as small, family.session() as whole:
            for begin, end in ((0, 96), (96, 100)):  # what a call computes itself is rounded as well
                a, b = (s.forward(ids[begin:end], begin, attn_block=block, store=True) for s in (small, whole))
                assert not same(a, b)
                assert numpy.abs(a - b).max() < apart * numpy.abs(b).max()  # float16: one rounding of the largest logit
    full, small = family.memory(), family.memory(kv_type=kv_type)
    assert small.activations == full.activations
    if kv_type == "float16":
        assert small.kv_cache * 2 == full.kv_cache
    else:  # a byte for four, and two bytes for each token and head of at least 16 numbers
        assert full.kv_cache / 4 < small.kv_cache <= full.kv_cache / 4 * (1 + 2 / 16)


@pytest.mark.parametrize("kv_type", CACHES)
@pytest.mark.parametrize("threads", (1, 3))
def test_batches_of_smaller_caches(exported, threads, kv_type):
    with Model(exported("sdar-tiny"), threads=threads) as many, Model(exported("sdar-tiny"), threads=1) as one:
        with many.workspace(max_sessions=6, kv_type=kv_type) as workspace:
            assert workspace.kv_type == kv_type
            got = workspace.forward(scenario(workspace.session, 1))
            want = [s.forward(i, **k) for s, i, k in scenario(lambda: one.session(kv_type=kv_type), 1)]
            assert all(same(a, b) for a, b in zip(got, want))


@pytest.mark.parametrize("kv_type,share", (("float16", 0.97), ("int8", 0.85)))
@pytest.mark.parametrize("name", MODELS)
def test_decodes_with_smaller_caches(exported, name, kv_type, share):
    """docs/PYTHON.md says what becomes of the recorded decodes."""
    traces, same_tokens = recorded(name), 0
    with Model(exported(f"{name}-tiny", max_seq_len=0)) as model, model.session(kv_type=kv_type) as session:
        for trace in traces:
            session.truncate(0)
            got = session.generate(trace["prompt_ids"], algorithm=trace["algorithm"], **trace["options"])
            same_tokens += got.output_ids == trace["output_ids"]
    print(f"{name}: {same_tokens} of {len(traces)} decodes with a cache of {kv_type} have the same tokens")
    assert same_tokens >= share * len(traces)


# ---- lifetimes -------------------------------------------------------------------------------------------------------


def family_tree(path):
    """{name: object} of everything that can be open at a time, each of which needs some of the others."""
    pool = ThreadPool(2)
    model = Model(path, pool=pool)
    workspace = model.workspace(max_sessions=4)
    session = workspace.session()
    session.forward(random_ids(7, 80), store=True, rows=[])
    fork = session.fork(40)
    batcher = Batcher(workspace)
    seat = batcher.seat(fork)
    alone = model.session(kv_type="float16")
    return {"pool": pool, "model": model, "workspace": workspace, "session": session, "fork": fork,
            "batcher": batcher, "seat": seat, "alone": alone}


NEEDED_BY = {"pool": {"model"}, "model": set(), "workspace": {"session", "fork", "batcher"}, "session": set(),
             "fork": {"seat"}, "batcher": {"seat"}, "seat": set(), "alone": set()}


def test_everything_can_be_dropped_in_any_order(exported):
    path, draw = exported("sdar-tiny"), random.Random(8)
    orders = list(itertools.permutations(NEEDED_BY))
    for order in draw.sample(orders, 60):
        things = family_tree(path)
        freed = [thing._handle._done for thing in things.values()]
        cycle = [things] if draw.random() < 0.5 else None  # some of them die in the collector, all at once
        if cycle:
            things["cycle"] = cycle
        for name in order[: draw.randrange(len(order) + 1)]:
            del things[name]
        things = cycle = None
        gc.collect()
        assert all(freed)


def test_what_others_need_refuses_to_be_closed(exported):
    path, draw = exported("sdar-tiny"), random.Random(9)
    for _ in range(20):
        things = family_tree(path)
        handles = {name: thing._handle for name, thing in things.items()}
        order = draw.sample(sorted(NEEDED_BY), len(NEEDED_BY))
        while order:
            for name in list(order):
                # The model closes what was opened from it.
                closable = name == "model" or all(handles[other].closed for other in NEEDED_BY[name])
                if closable:
                    things[name].close()
                    things[name].close()
                else:
                    with pytest.raises(RuntimeError, match="in use|seat"):
                        things[name].close()
                    assert not handles[name].closed
                if handles[name].closed:
                    order.remove(name)
                if not handles["seat"].closed and not handles["model"].closed:
                    assert things["seat"].forward([5]).shape == (1, 1280)
        assert all(handle.closed for handle in handles.values())


def test_leaving_with_statements_closes_everything(exported):
    with ThreadPool(3) as pool, Model(exported("sdar-tiny"), pool=pool) as model:
        assert pool.threads == 3
        with model.workspace() as workspace:
            session = workspace.session()
            batcher = Batcher(workspace)
        for use in (lambda: session.forward([1]), workspace.session, workspace.memory, lambda: Batcher(workspace),
                    lambda: workspace.free_positions, lambda: batcher.seat(session)):
            with pytest.raises(ValueError, match="closed"):
                use()
        with pytest.raises(RuntimeError, match="the workspace is in use: close its sessions and batchers first"):
            other = model.workspace()
            keep = other.session()
            other.close()
        assert keep.forward([1]).shape == (1, 1280)
    for use in (lambda: keep.forward([1]), model.workspace, lambda: Model(exported("sdar-tiny"), pool=pool)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_models_share_a_pool(exported):
    prompt = random_ids(10, 7)
    with ThreadPool(2) as pool:
        with pytest.raises(ValueError, match="leave it 0"):
            Model(exported("sdar-tiny"), pool=pool, threads=2)
        with Model(exported("sdar-tiny"), pool=pool) as a, Model(exported("llada-tiny"), pool=pool) as b:
            want = [model.generate(prompt, max_new_tokens=16).ids for model in (a, b)]
            got, models = [], queue.Queue()
            for item in [(0, a), (1, b)] * 2:
                models.put(item)

            def work():
                i, model = models.get()
                for _ in range(3):
                    got.append(model.generate(prompt, max_new_tokens=16).ids == want[i])

            in_threads(work, 4)
            assert got == [True] * 12
            with pytest.raises(RuntimeError, match="close its models first"):
                pool.close()
        with Model(exported("sdar-tiny"), threads=1) as alone:
            assert alone.generate(prompt, max_new_tokens=16).ids == want[0]
    with pytest.raises(ValueError, match="5000"):
        ThreadPool(5000)


def test_closing_from_other_threads_is_refused_or_done(exported):
    """Threads open, use and drop sessions while another keeps trying to close the workspace."""
    with Model(exported("sdar-tiny"), threads=1) as model:
        workspace, stop = model.workspace(max_sessions=8), threading.Event()
        seen = []

        def work():
            while not stop.is_set():
                try:
                    session = workspace.session()
                except ValueError:  # closed
                    return
                try:
                    seen.append(session.forward([1, 2], store=True, rows=[1]).shape)
                except ValueError:
                    return
                del session

        def close():
            for _ in range(3000):
                try:
                    workspace.close()
                    break
                except RuntimeError:
                    continue
            stop.set()

        threads = [threading.Thread(target=work) for _ in range(3)] + [threading.Thread(target=close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(seen) <= {(1, 1280)}
        workspace.close()


def test_the_package_is_python_3_9():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 9))


def test_a_workspace_is_what_the_model_opens(sdar):
    with Workspace(sdar, max_sessions=1) as workspace:
        assert workspace.model is sdar and workspace.kv_type == "float32"


def test_the_sample_of_the_manual_runs(exported, capsys):
    text = (Path(__file__).resolve().parent.parent.parent / "docs" / "PYTHON.md").read_text("utf-8")
    sample, = [code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "history.fork()" in code]
    ids = [int(number) for row in re.findall(r"= \[([0-9, ]+)\]", sample) for number in row.split(",")]
    assert len(ids) == 8 and max(ids) < 500, "small models have these too"
    exec(sample.replace('"model.pte"', repr(str(exported("sdar-tiny")))), {})
    assert capsys.readouterr().out.splitlines()[1] == "8"
