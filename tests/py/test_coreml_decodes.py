"""Whole files of backend coreml behind this library's decoders: the official parser takes the payload apart, coremltools'
definitions of the operators compute it, a fixed session or the program keeps the cache, and the recorded decodes come
out."""
import os
import types
from pathlib import Path

import numpy as np
import pytest

import diffulex_edge
from oracles import oracle
from program import DATA

torch = oracle("torch", "decodes over CoreML programs are")
oracle("coremltools", "decodes over CoreML programs are")
oracle("executorch.backends.apple.coreml.executorchcoreml", "decodes over CoreML programs are")
from coreml_part import CoremlFile  # noqa: E402
from diffulex_edge.handles import Turn  # noqa: E402
from diffulex_edge.runtime import executorch as driver  # noqa: E402
from diffulex_edge.runtime.fixed import FixedProgram, FixedSession  # noqa: E402
from executorch.exir._serialize._program import deserialize_pte_binary  # noqa: E402
from recorded import check, departure, float_decodes  # noqa: E402

MODELS = ("llada", "dream", "sdar", "fast_dllm_v2")


class Method:
    """As the official runtime's methods: tensors in, tensors out."""

    def __init__(self, path, folder, name):
        self.file = CoremlFile(path, folder, name)

    def execute(self, inputs):
        return [torch.from_numpy(x.copy()) for x in self.file(*[x.numpy() for x in inputs])]


def recorded(model, most):
    """Of each algorithm the `most` shortest decodes of more than three passes: coremltools takes its time. With
    DLX_ALL_DECODES all that there are, of float32 weights (an hour)."""
    every = float_decodes(model)
    if os.environ.get("DLX_ALL_DECODES"):
        return every
    chosen = []
    for algorithm in sorted({t["algorithm"] for t in every}):
        long = [t for t in every if t["algorithm"] == algorithm and t["num_forwards"] > 3]
        chosen += sorted(long, key=lambda t: t["num_forwards"])[:most]
    return chosen


@pytest.mark.parametrize("kv", ["fixed-fp16", "fixed-state"])
@pytest.mark.parametrize("name", MODELS)
def test_recorded_decodes(tmp_path, name, kv):
    path = tmp_path / "m.pte"
    rows = 128 if name in ("llada", "dream") else 32
    diffulex_edge.export_checkpoint(DATA / "checkpoints" / f"{name}-tiny", path, backend="coreml", quantization="fp16",
                                    max_seq_len=192 if rows == 32 else 128, max_rows=rows, kv=kv,
                                    method_rows=[] if kv == "fixed-state" else [rows // 4])    # of the same package
    program = FixedProgram(str(path))
    model = types.SimpleNamespace(facts=program.facts, _turn=Turn("in use"))
    session = FixedSession(model, torch, program, [Method(path, tmp_path / "delegates", n) for n in program.names])
    traces, departures = recorded(name, 2 if kv == "fixed-fp16" else 1), []
    for trace in traces:
        got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
        departures.append(departure(trace, got.output_ids, got.num_forwards, [[list(a) for a in step.accepted] for step in got.steps]))
    check(f"{name}, {kv}", traces, departures)


class Runtime:
    """As much of the official runtime as is asked for, over Method; it counts what is loaded."""

    class Verification:
        InternalConsistency = None

    class Program:
        def __init__(self, path, folder):
            self.path, self.folder, self.methods = path, folder, {}
            self.plans = {p.name: p for p in deserialize_pte_binary(path.read_bytes()).program.execution_plan}
            self.method_names = set(self.plans)

        def load_method(self, name):
            """Once for each program, as there."""
            if name not in self.methods:
                plan = self.plans[name]
                values = [next(iter(vars(plan.values[i].val).values())) for i in plan.outputs] if name[:4] == "get_" else None
                self.methods[name] = (types.SimpleNamespace(execute=lambda _: values) if values is not None
                                      else Method(self.path, self.folder, name))
            return self.methods[name]

    def __init__(self, folder):
        self.folder, self.loaded, self.Runtime = folder, 0, types.SimpleNamespace(get=lambda: self)

    def load_program(self, path, verification):
        self.loaded += 1
        return Runtime.Program(Path(path), self.folder / str(self.loaded))


def test_sessions_have_caches_of_their_own(tmp_path, monkeypatch):
    """Where the program keeps the cache: each session loads it once more, and another sequence changes nothing."""
    path, runtime = tmp_path / "m.pte", Runtime(tmp_path)
    monkeypatch.setattr(driver, "_import", lambda: (torch, runtime))
    diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", path, backend="coreml", quantization="fp16",
                                    max_seq_len=32, max_rows=8, kv="fixed-state")
    prompt, other, block = list(range(40, 56)), list(range(90, 106)), [7, 8, 9, 10]
    def answer(session):
        return bytes(np.array(session.forward(block, start=16, context=[(0, 16)], attn_block=4, rows=[0, 3])))

    with driver.ExecuTorchModel(path) as model:
        first, second = model.session(), model.session()
        assert model.fixed and runtime.loaded == 2
        first.forward(prompt, attn_block=4, store=True)
        wanted = answer(first)
        second.forward(other, attn_block=4, store=True)
        assert answer(first) == wanted != answer(second)
        assert first.reusable([*prompt, 5], attn_block=4) == 16 and second.reusable([*prompt, 5], attn_block=4) == 0
        second.truncate(0)
        second.forward(prompt, attn_block=4, store=True)    # over what another sequence left
        assert answer(second) == wanted
