"""Checks the .pte writer against ExecuTorch itself: its runtime, its flatbuffer compiler and its Python deserialiser.

Needs the `executorch` package and the target `make_sample_pte`, built in the folder that DLX_BUILD_DIR names.
"""
import json
import os
import pathlib
import struct
import subprocess

import pytest

from oracles import not_here, oracle

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("DLX_BUILD_DIR")
if not BUILD:
    not_here("DLX_BUILD_DIR does not name a build folder: the .pte writer is NOT checked")
executorch = oracle("executorch", "the .pte writer is")
np = oracle("numpy", "the .pte writer is")
torch = oracle("torch", "the .pte writer is")

PACKAGE = pathlib.Path(list(executorch.__path__)[0])
T, V, K, N = 8, 24, 32, 12


def make(path, *arguments):
    tools = [p for p in pathlib.Path(BUILD).rglob("make_sample_pte") if p.is_file()]
    assert tools, f"make_sample_pte is not built in {BUILD}"
    subprocess.run([tools[0], path, *arguments], check=True)
    return path


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pte") / "sample.pte")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pte") / "bare.pte", "bare")


def expected(ids):
    i = np.arange(V * K)
    table = (((73 * i + 5) % 1000).astype(np.float32) / np.float32(500) - np.float32(1)).reshape(V, K)
    weights = ((37 * np.arange(N * K) + 11) % 255 - 127).reshape(N, K)
    scales = (np.arange(N) + 1) / 1024
    bias = np.arange(N) / 4
    x = table[ids]
    low, high = np.minimum(x.min(1), 0), np.maximum(x.max(1), 0)
    s = np.where(high == low, 1, 255 / (high - low)).astype(np.float32)
    zero = np.where((-128 + low * s) + (127 + high * s) > 0, -128 - low * s, 127 - high * s)
    zero = np.rint(np.clip(zero, -128, 127))[:, None]
    q = np.clip(np.rint(x * s[:, None]) + zero, -128, 127)
    a = ((q - zero) @ weights.T.astype(np.float64)) / s[:, None] * scales + bias
    return a, x.astype(np.float64) @ table.T.astype(np.float64)


def flatc(schema, data, folder, name):
    (folder / f"{name}.bin").write_bytes(data)
    subprocess.run([PACKAGE / "data/bin/flatc", "--json", "--strict-json", "--defaults-json", "--raw-binary",
                    "-o", folder, schema, "--", folder / f"{name}.bin"], check=True, capture_output=True)
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("rows", [1, 5, 8])
def test_runtime_gives_numpys_numbers(sample, rows):
    from executorch.runtime import Runtime, Verification

    program = Runtime.get().load_program(sample, verification=Verification.InternalConsistency)
    ids = np.array([(7 * i + 3) % V for i in range(rows)])
    a, b = program.load_method("forward").execute([torch.from_numpy(ids)])
    want_a, want_b = expected(ids)
    assert a.shape == (rows, N) and b.shape == (rows, V)
    assert np.abs(a.numpy() - want_a).max() < 2e-5
    assert np.abs(b.numpy() - want_b).max() < 2e-5


@pytest.mark.parametrize("name", ["sample", "bare"])
def test_constant_methods(name, request):
    from executorch.runtime import Runtime, Verification

    file = request.getfixturevalue(name)
    program = Runtime.get().load_program(file, verification=Verification.InternalConsistency)
    got = {n: program.load_method(n).execute([]) for n in program.method_names if n != "forward"}
    assert got == {"get_max_seq_len": [1 << 40], "use_kv_cache": [True], "get_rope_theta": [1e6],
                   "get_model_name": ["sample"], "get_eos_ids": [1, 2]}


def test_flatc_decodes_the_program(sample, tmp_path):
    data = sample.read_bytes()
    length, size, base, segment_bytes = struct.unpack("<IQQQ", data[12:40])
    assert data[4:12] == b"ET12eh00" and length == 32 and base % 128 == 0 and base + segment_bytes == len(data)
    program = flatc(PACKAGE / "schema/program.fbs", data[:size], tmp_path, "program")
    assert program["version"] == 0
    assert [p["name"] for p in program["execution_plan"]][:2] == ["forward", "get_max_seq_len"]
    for plan in program["execution_plan"]:
        assert plan["chains"] and plan["non_const_buffer_sizes"][0] == 0 and plan["container_meta_type"]["encoded_out_str"]
    forward = program["execution_plan"][0]
    assert [v["val_type"] for v in forward["values"]] == ["Tensor", "Tensor", "Int", "Bool", "Tensor", "Tensor", "Tensor"]
    assert [i["instr_args_type"] for i in forward["chains"][0]["instructions"]] == ["KernelCall", "DelegateCall"]
    assert program["constant_segment"]["offsets"] == [0, 0]
    assert program["constant_buffer"] == [] and program["backend_delegate_data"] == []
    # The tied table: named data over the bytes of the constant.
    segments, named = program["segments"], {n["key"]: n["segment_index"] for n in program["named_data"]}
    assert segments[named["table"]] == segments[program["constant_segment"]["segment_index"]]
    assert all(s["offset"] % 128 == 0 for s in segments)

    reference = forward["delegates"][0]["processed"]
    assert reference["location"] == "SEGMENT"
    at = base + segments[reference["index"]]["offset"]
    payload = data[at:at + segments[reference["index"]]["size"]]
    assert payload[4:8] == b"XH00"
    header, graph_at, graph_size, constants_at, constants_size = struct.unpack("<HIIIQ", payload[8:30])
    assert header == 30 and graph_at == 32 and constants_at + constants_size == len(payload)
    graph = flatc(PACKAGE / "backends/xnnpack/serialization/schema.fbs", payload[graph_at:graph_at + graph_size],
                  tmp_path, "graph")
    assert graph["input_ids"] == [0] and graph["output_ids"] == [4, 6] and graph["num_externs"] == 3
    assert [c.get("named_key") for c in graph["constant_data"]] == [None, "w", "w.scales", None, "table"]
    assert [c["offset"] for c in graph["constant_data"][:2]] == [0, 2**64 - 1]
    assert graph["xnodes"][2]["xnode_union"]["bias_id"] == 2**32 - 1
    assert graph["xvalues"][2]["xvalue_union"]["quant_params"]["scale"] == []


def test_python_deserialiser_accepts_the_program(sample):
    program_module = oracle("executorch.exir._serialize._program", "the .pte writer is")

    file = program_module.deserialize_pte_binary(sample.read_bytes())
    assert [p.name for p in file.program.execution_plan][0] == "forward"
    assert len(file.program.execution_plan[0].delegates) == 1
    assert set(file.named_data.pte_data) == {"w", "w.scales", "table"}


def test_python_deserialiser_accepts_a_program_without_segments(bare):
    program_module = oracle("executorch.exir._serialize._program", "the .pte writer is")

    assert len(program_module.deserialize_pte_binary(bare.read_bytes()).program.execution_plan) == 5
