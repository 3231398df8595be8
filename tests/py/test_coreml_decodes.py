"""Whole files of backend coreml behind this library's decoders: the official parser takes the payload apart, coremltools'
definitions of the operators compute it, a fixed session keeps the cache, and the recorded decodes come out."""
import os
import types

import pytest

import diffulex_edge
from oracles import oracle
from program import DATA

torch = oracle("torch", "decodes over CoreML programs are")
oracle("coremltools", "decodes over CoreML programs are")
oracle("executorch.backends.apple.coreml.executorchcoreml", "decodes over CoreML programs are")
from coreml_part import CoremlFile  # noqa: E402
from diffulex_edge.handles import Turn  # noqa: E402
from diffulex_edge.runtime.fixed import FixedProgram, FixedSession  # noqa: E402
from recorded import departure, float_decodes  # noqa: E402

MODELS = ("llada", "dream", "sdar", "fast_dllm_v2")


class Method:
    """As the official runtime's methods: tensors in, tensors out."""

    def __init__(self, path, folder, name):
        self.file = CoremlFile(path, folder, name)

    def execute(self, inputs):
        return [torch.from_numpy(x.copy()) for x in self.file(*[x.numpy() for x in inputs])]


def recorded(model):
    """Of each algorithm the two shortest decodes of more than three passes: coremltools takes its time. With
    DLX_ALL_DECODES all that there are, of float32 weights (an hour)."""
    every = float_decodes(model)
    if os.environ.get("DLX_ALL_DECODES"):
        return every
    chosen = []
    for algorithm in sorted({t["algorithm"] for t in every}):
        long = [t for t in every if t["algorithm"] == algorithm and t["num_forwards"] > 3]
        chosen += sorted(long, key=lambda t: t["num_forwards"])[:2]
    return chosen


@pytest.mark.parametrize("name", MODELS)
def test_recorded_decodes(tmp_path, name):
    path = tmp_path / "m.pte"
    rows = 128 if name in ("llada", "dream") else 32
    diffulex_edge.export_checkpoint(DATA / "checkpoints" / f"{name}-tiny", path, backend="coreml", quantization="fp16",
                                    max_seq_len=192 if rows == 32 else 128, max_rows=rows)
    program = FixedProgram(str(path))
    model = types.SimpleNamespace(facts=program.facts, _turn=Turn("in use"))
    session = FixedSession(model, torch, program, [Method(path, tmp_path / "delegates", n) for n in program.names])
    traces, others = recorded(name), []
    for trace in traces:
        got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
        others.append(departure(trace, got.output_ids, got.num_forwards, [[list(a) for a in step.accepted] for step in got.steps]))
    others = [sentence for sentence in others if sentence]
    print(f"{name}: {len(traces) - len(others)} of {len(traces)} decodes are the recorded ones")
    assert not others, "\n".join(others)
