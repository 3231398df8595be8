"""The sampler interface on recorded vectors: 260 cases of tests/data/sampler, for lists, numpy arrays and torch
tensors.

The recordings are what the original Python system does. Its engine runs are in test_py_engine_runs.py.
"""

import array
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from oracles import oracle

from diffulex_edge.runtime import DiffusionBlockManager
from diffulex_edge.runtime.sampler import (
    NoShiftLogitsSampler,
    ShiftLogitsSampler,
    get_sampler_class,
    sample_tokens,
    top_k_logits,
    top_p_logits,
)

DATA = Path(__file__).resolve().parent.parent / "data" / "sampler"
REMOVED = -3.4e38


def read_safetensors(path):
    """{name: nested lists of floats}"""
    raw = Path(path).read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, info in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        assert info["dtype"] == "F32"
        begin, end = info["data_offsets"]
        flat = array.array("f", raw[8 + n + begin : 8 + n + end])
        shape = info["shape"]
        out[name] = (
            list(flat) if len(shape) == 1 else [list(flat[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0])]
        )
    return out


def load(name):
    return json.loads((DATA / f"{name}.json").read_text())


TENSORS = read_safetensors(DATA / "logits.safetensors")
KINDS = ("list", "numpy", "torch")


def make(kind, rows):
    if kind == "list":
        return rows
    module = oracle(kind, "its arrays are")
    return module.tensor(rows) if kind == "torch" else module.array(rows, dtype=module.float32)


def lists(x):
    return x.tolist() if hasattr(x, "tolist") else [list(row) if hasattr(row, "__len__") else row for row in x]


def is_kind(kind, x):
    if kind == "list":
        return isinstance(x, list)
    module = oracle(kind, "its arrays are")
    return isinstance(x, module.Tensor if kind == "torch" else module.ndarray)


def ids(cases):
    return [str(i) for i in range(len(cases))]


def test_number_of_cases():
    counts = {name: len(load(name)) for name in ("tokens", "filters", "shift", "blocks", "samplers", "engine")}
    assert counts == {"tokens": 72, "filters": 36, "shift": 17, "blocks": 7, "samplers": 80, "engine": 48}
    assert sum(counts.values()) == 260


# docs/DIFFERENCES.md: which of several equal tokens top-p keeps is left to torch's unstable sort in the original; here
# the lower ids stay. {case: {row: token}}
TIES = {68: {2: 0, 3: 3}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(72))
def test_sample_tokens(number, kind):
    case = load("tokens")[number]
    confidence, tokens, initial = sample_tokens(make(kind, TENSORS[case["logits"]]), **case["options"])
    assert is_kind(kind, tokens) and is_kind(kind, confidence) and is_kind(kind, initial)
    want = list(case["tokens"])
    for row, token in TIES.get(number, {}).items():
        logits = TENSORS[case["logits"]][row]
        assert want[row] != token and logits[want[row]] == logits[token] == max(logits) and case["has_ties"]
        want[row] = token
    assert lists(tokens) == want
    assert lists(confidence) == pytest.approx(case["confidence"], abs=2e-6)
    assert lists(initial) == pytest.approx(case["initial_confidence"], abs=2e-6)


def softmax(row):
    top = max(row)
    powers = [math.exp(v - top) for v in row]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", load("filters"), ids=ids(load("filters")))
def test_filters(case, kind):
    logits = make(kind, [[v / case["temperature"] for v in row] for row in TENSORS[case["logits"]]])
    out = top_k_logits(top_p_logits(logits, case["top_p"]), case["top_k"])
    assert is_kind(kind, out)
    rows = lists(out)
    assert [[i for i, v in enumerate(row) if v > REMOVED] for row in rows] == case["kept"]
    for row, want in zip(rows, TENSORS[case["probs"]]):
        assert softmax(row) == pytest.approx(want, abs=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", load("shift"), ids=ids(load("shift")))
def test_shift(case, kind):
    shifter = NoShiftLogitsSampler() if case["kind"] == "no_shift" else ShiftLogitsSampler()
    for call in case["calls"]:
        last = make(kind, TENSORS[call["last"]]) if call["last"] else None
        out = shifter.shift(make(kind, TENSORS[call["in"]]), last, case["use_cache"])
        assert lists(out) == TENSORS[call["out"]]


def snapshot(manager):
    return {
        "blocks": [
            {
                "start": b.start_pos,
                "length": b.length,
                "status": b.status.value,
                "tokens": b.get_sequence_tokens(),
                "masks_local": b.get_local_mask_positions(),
                "masks_global": b.get_global_mask_positions(),
            }
            for b in manager.blocks
        ],
        "active": next((i for i, b in enumerate(manager.blocks) if b is manager.get_active_block()), None),
        "confirmed_tokens": manager.get_confirmed_token_count(),
        "confirmed_list": manager.get_confirmed_tokens_list(),
    }


@pytest.mark.parametrize("case", load("blocks"), ids=ids(load("blocks")))
def test_block_life_cycle(case):
    manager = DiffusionBlockManager(case["mask"])
    for entry in case["log"]:
        if entry["op"] == "create":
            manager.create_blocks(case["prompt_len"], case["max_new_tokens"], case["block_size"])
        elif entry["op"] == "confirm_token":
            assert manager.get_active_block().confirm_token(entry["local"], entry["token"]) == entry["returned"]
        else:
            assert manager.confirm_current_block() == entry["returned"]
        if "after" in entry:
            assert snapshot(manager) == entry["after"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", load("samplers"), ids=ids(load("samplers")))
def test_model_samplers(case, kind):
    manager = DiffusionBlockManager(case["mask"])
    per_block = case["model"] in ("llada", "dream")
    length, active = case["block_length"], case["active_block"]
    manager.create_blocks(0, length * (active + 1), length, case["threshold"] if per_block else 0.95)
    for i in range(active):
        if case["previous_confirmed"]:
            for p in range(length):
                manager.blocks[i].confirm_token(p, 1)
            manager.confirm_current_block()
        else:
            manager.blocks[i].status = type(manager.blocks[i].status).PENDING
            manager.current_block_idx = active
            manager.blocks[active].activate()
    block = manager.get_active_block()
    for position, token in case["preset"].items():
        block.confirm_token(int(position), token)
    keywords = {"temperature": 0.0, **case["options"], **({} if per_block else {"threshold": case["threshold"]})}
    sampler = get_sampler_class(case["model"])(case["mask"], **keywords)
    for call in case["calls"]:
        assert block.get_local_mask_positions() == call["mask_positions"]
        output = sampler.sample(manager, make(kind, TENSORS[call["logits"]]))
        assert output.accepted_local_positions == call["accepted_positions"]
        assert output.accepted_tokens == call["accepted_tokens"]
        assert output.block_confirmed == call["block_confirmed"]
        assert block.get_sequence_tokens() == call["block_after"]
        by_position = dict(zip(call["mask_positions"], call["initial_confidence"]))
        assert output.confidences == pytest.approx([by_position[p] for p in output.accepted_local_positions], abs=2e-6)


def test_all_of_it_without_numpy():
    """The package computes in plain Python where numpy is missing; the same vectors hold."""
    code = (
        "import sys; sys.modules['numpy'] = sys.modules['torch'] = None\n"
        "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', 'not without_numpy', "
        f"{__file__!r}]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment.pop("DLX_REQUIRE_ORACLES", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
