"""Programs whose shapes never vary in the official runtime, behind this library's sessions: recorded decodes come out, engines
and sessions give what the native runtime gives, and what goes wrong comes out of the call."""
import gzip
import json
import signal
import threading

import numpy
import pytest

import diffulex_edge
from diffulex_edge.decode import ForwardCall
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig, GenerationConfig, InferenceEngine
from oracles import oracle
from program import DATA

torch = oracle("torch", "the decoder over the official runtime is")
oracle("executorch.runtime", "the decoder over the official runtime is")
from diffulex_edge.runtime.executorch import ExecuTorchModel  # noqa: E402

MODELS = ("llada", "dream", "sdar", "fast_dllm_v2")
PROMPT = [100, 101, 102, 103, 104, 5, 6]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model, form) -> a file with methods of 128 or 32, and of 8 rows."""
    folder, made = tmp_path_factory.mktemp("fixed"), {}

    def file(model, kv="fixed", quantization="none"):
        key = model, kv, quantization
        if key not in made:
            made[key] = folder / ("-".join(key) + ".pte")
            rows = 128 if model in ("llada", "dream") else 32
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / f"{model}-tiny", made[key], kv=kv,
                                            quantization=quantization, max_seq_len=192 if rows == 32 else 128, max_rows=rows,
                                            method_rows=[] if kv == "caller" else [8])
        return made[key]
    return file


def recorded(model, weights="float32"):
    every = json.loads(gzip.decompress((DATA / "traces" / f"{model}-tiny.json.gz").read_bytes()))
    return [t for t in every if t["weights"] == weights]


@pytest.mark.parametrize("kv,least", (("fixed", 1.0), ("fixed-fp16", 0.9)))
@pytest.mark.parametrize("name", MODELS)
def test_recorded_decodes(files, name, kv, least):
    traces, same = recorded(name), 0
    with ExecuTorchModel(files(name, kv)) as model:
        session = model.session()
        for trace in traces:
            got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
            steps = [[s.block, [s.start, s.rows, s.cached], [[a.position, a.id] for a in s.accepted]] for s in got.steps]
            wanted = [[b, f, [[p, t] for p, t, _ in accepted]] for b, f, accepted in trace["steps"]]
            same += got.output_ids == trace["output_ids"] and got.num_forwards == trace["num_forwards"] and steps == wanted
    print(f"{name}, {kv}: {same} of {len(traces)} decodes are the recorded ones")
    assert same >= least * len(traces) and len(traces) >= 45


CONFIGS = ({}, {"algorithm": "blocks", "block_size": 6}, {"temperature": 1.5, "seed": 3, "top_p": 0.9},
           {"algorithm": "ar.generate"}, {"confidence_threshold": 0.6, "block_size": 8})


@pytest.mark.parametrize("quantization", ("none", "int8-dynamic"))
@pytest.mark.parametrize("name", MODELS)
def test_engines_decode_the_same_in_both_runtimes(files, name, quantization):
    with DiffusionEngine.from_pte(files(name, "fixed", quantization), runtime="executorch") as official, \
            DiffusionEngine.from_pte(files(name, "caller", quantization)) as native:
        for keywords in CONFIGS:
            config = DiffusionGenerationConfig(**{"max_new_tokens": 20, "temperature": 0.0, "stop_ids": [], **keywords})
            for prompt in (PROMPT, list(range(40, 75))):
                assert official.generate(prompt, config) == native.generate(prompt, config)
                a, b = official.last_generation, native.last_generation
                assert [(s.start, s.rows, s.cached) for s in a.steps] == [(s.start, s.rows, s.cached) for s in b.steps]
        streamed = list(official.generate_stream(PROMPT, DiffusionGenerationConfig(max_new_tokens=9, temperature=0.0)))
        assert streamed == list(native.generate_stream(PROMPT, DiffusionGenerationConfig(max_new_tokens=9, temperature=0.0)))


@pytest.mark.parametrize("name", ("sdar", "fast_dllm_v2"))
def test_autoregression(files, name):
    config = GenerationConfig(max_new_tokens=8, temperature=0)
    with InferenceEngine.from_pte(files(name), runtime="executorch") as official, \
            InferenceEngine.from_pte(files(name, "caller")) as native:
        assert official.generate(PROMPT, config) == native.generate(PROMPT, config)
        theirs, ours = official._prefill(PROMPT)[0], native._prefill(PROMPT)[0]
        assert abs(theirs - ours).max() < 1e-4
        assert abs(official._decode_step(9)[0] - native._decode_step(9)[0]).max() < 1e-4


def test_sessions_complete_text_and_reuse_what_they_hold(files):
    question = "count to three"
    with ExecuTorchModel(files("sdar")) as model, diffulex_edge.Model(files("sdar", "caller")) as native:
        assert model.fixed and model.facts.max_rows == 32 and model.facts.family == "sdar"
        ids = model.prompt_ids(question)
        assert ids == native.prompt_ids(question)
        session, theirs = model.session(), native.session()
        for cached in (0, (len(ids) - 1) // 4 * 4):
            ours = session.complete(ids, reuse=True, max_new_tokens=12)
            wanted = theirs.complete(ids, reuse=True, max_new_tokens=12)
            assert (ours.text, ours.ids) == (wanted.text, wanted.ids)
            assert ours.statistics.cached_tokens == wanted.statistics.cached_tokens == cached
        assert "".join(session.stream(ids, max_new_tokens=12)) == wanted.text
        session.truncate(8)
        theirs.truncate(8)
        assert session.reusable(ids) == theirs.reusable(ids) == 8
        got = session.forward(ids[8:11], start=8, rows=[0, 2])
        assert numpy.abs(got - theirs.forward(ids[8:11], start=8, rows=[0, 2])).max() < 1e-4
        assert session.forward(ids[:4], rows=[]).shape == (0, model.facts.vocab_size)


def test_a_model_is_a_forward_function(files):
    with ExecuTorchModel(files("sdar"), max_context=64) as model:
        call = ForwardCall(ids=[1], start=0, context=[], attn_block=4, n_store=0, rows=[0])
        assert model(call).shape == (1, 1280)
        for wrong in ({"ids": [5000]}, {"start": 64}, {"start": -1}, {"ids": []}, {"start": 4, "context": [(40, 64)]}):
            with pytest.raises(ValueError):
                model(call._replace(**wrong))
    with pytest.raises(ValueError, match="closed"):
        model(call)
    with pytest.raises(ValueError, match="closed"):
        model.session()
    model.close()
    with ExecuTorchModel(files("sdar", "caller")) as other, pytest.raises(diffulex_edge.UnsupportedError, match="--kv fixed"):
        other.session()


def test_what_the_runtime_raises_comes_out_and_the_cache_stays(files):
    class Broken(Exception):
        pass

    with ExecuTorchModel(files("sdar")) as model:
        session = model.session()
        session.forward(PROMPT, store=True, rows=[])
        before = session.forward([7, 8], start=7)
        real, left = session._runner._methods, [0]

        class Breaks:
            def execute(self, inputs):
                left[0] -= 1
                if left[0] <= 0:
                    raise Broken("the accelerator was unplugged")
                return real[0].execute(inputs)
        session._runner._methods = [Breaks(), Breaks()]
        for passes, run in ((2, lambda: session.forward(list(range(40)) * 2, store=True)), (1, lambda: session.generate(PROMPT)),
                            (1, lambda: session.complete(PROMPT)), (1, lambda: list(session.stream(PROMPT)))):
            left[0] = passes
            with pytest.raises(Broken, match="unplugged"):
                run()
        session._runner._methods = real

        class Short:
            def execute(self, inputs):
                return real[1].execute(inputs)[:-1]
        session._runner._methods = [Short(), Short()]
        with pytest.raises(RuntimeError, match=r"method forward(_8)? gave \d+ outputs; expected \d+"):
            session.forward([1])
        session._runner._methods = real
        session.truncate(0)
        session.forward(PROMPT, store=True, rows=[])
        assert numpy.array_equal(session.forward([7, 8], start=7), before)


def test_callbacks_cancel_and_raise(files):
    with ExecuTorchModel(files("sdar")) as model:
        session = model.session()
        got = session.generate(PROMPT, max_new_tokens=20, stop_ids="none", on_step=lambda step, ids: False)
        assert got.finish_reason == "cancelled"

        def interrupt(step, ids):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            session.generate(PROMPT, max_new_tokens=20, on_step=interrupt)
        with pytest.raises(RuntimeError, match="in use"):
            session.generate(PROMPT, on_step=lambda step, ids: session.forward([1]) is not None)
        assert session.generate(PROMPT, max_new_tokens=4).finish_reason in ("length", "stop")


def test_closing_ends_what_runs(files):
    model = ExecuTorchModel(files("llada"))
    session, started = model.session(), threading.Event()
    results = []

    def work():
        results.append(session.generate(PROMPT, algorithm="llada.generate", steps=100, gen_length=100, block_length=100,
                                        stop_ids="none", on_step=lambda step, ids: started.set()))
    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    with pytest.raises(RuntimeError, match="in use"):
        session.forward([1])
    model.close()
    thread.join()
    assert results[0].finish_reason == "cancelled"
    with pytest.raises(ValueError, match="closed"):
        session.generate(PROMPT)


def test_the_native_runtime_says_how_to_run_such_a_file(files):
    with pytest.raises(diffulex_edge.UnsupportedError, match="runtime=\"executorch\" in Python"):
        diffulex_edge.Model(files("sdar"))
    assert diffulex_edge.inspect(files("sdar"))["runnable"] is False
