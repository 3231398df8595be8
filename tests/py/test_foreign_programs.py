"""Programs of ExecuTorch's own exporter through Python and the command line, and live against the official runtime."""
import json
import os
import subprocess
import threading

import numpy
import pytest

import diffulex_edge
from foreign_io import FOLDER, PROGRAMS, assert_alike, calls
from oracles import oracle

CLI = os.environ["DLX_CLI"]
DECODERS = [n for n in PROGRAMS if n.startswith(("decoder_cache", "llama_", "official_"))
            and n not in ("llama_stateless", "llama_ring")]
OTHERS = FOLDER / "others"

# Where the official runtime (1.4.1 and 1.5.1) does not answer what PyTorch does; there the recorded answers count.
CRASHES_OFFICIALLY = ("matrices_xnnpack",)  # reads constants of a batched product after it freed them
DIFFERS_OFFICIALLY = {("integers", 2): "the remainder of integers has the sign of the dividend there"}


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def run(*args, status=0):
    done = subprocess.run([CLI, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in CRASHES_OFFICIALLY])
def test_answers_of_the_official_runtime(name):
    """The same file in both, call after call, states included."""
    torch = oracle("torch", "agreement with the official runtime is")
    runtime = oracle("executorch.runtime", "agreement with the official runtime is")
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401 registers llama::*
    from executorch.kernels import quantized  # noqa: F401
    program = runtime.Runtime.get().load_program(FOLDER / f"{name}.pte")  # must outlive its method
    official = program.load_method("forward")
    with diffulex_edge.Method(FOLDER / f"{name}.pte", threads=2) as native:
        for inputs, recorded in calls(name):
            want = official.execute([torch.from_numpy(x.copy()) for x in inputs])
            got = as_tuple(native(*inputs))
            assert len(got) == len(want)
            for i, (a, b) in enumerate(zip(got, want)):
                assert_alike(a, recorded[i] if (name, i) in DIFFERS_OFFICIALLY else b.numpy(), name)


def test_there_is_a_corpus():
    assert len(PROGRAMS) >= 25 and len(DECODERS) >= 8


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_run_in_sessions(name):
    with diffulex_edge.Model(FOLDER / f"{name}.pte") as model, model.session() as session:
        assert model.facts.attn_block == 1
        start = 0
        for inputs, (want,) in calls(name):
            ids = inputs[0].ravel().tolist()
            rows = want.reshape(-1, want.shape[-1])
            logits = session.forward(ids, start=start, attn_block=1, store=True,
                                     rows=range(len(ids) - len(rows), len(ids)))
            assert_alike(numpy.asarray(logits), rows, name)
            start += len(ids)


def test_a_method_says_what_it_takes_and_refuses_the_rest():
    with diffulex_edge.Method(FOLDER / "mlp_dynamic.pte") as method:
        assert method.inputs == [diffulex_edge.TensorInfo(None, "float32", (16, 12), (True, False))]
        assert method.outputs[0].shape == (16, 7) and method.state_bytes == 0
        assert method(numpy.zeros((16, 12), numpy.float32)).shape == (16, 7)
        assert method(numpy.zeros((0, 12), numpy.float32)).shape == (0, 7)
        for bad, words in ((numpy.zeros((17, 12), numpy.float32), "at most 16"),
                           (numpy.zeros((3, 11), numpy.float32), "exactly 12"),
                           (numpy.zeros((3, 12), numpy.int64), "expected float32"),
                           (numpy.zeros((3, 12), numpy.float64), "holds float64"),
                           (numpy.zeros((3, 1, 12), numpy.float32), "expected 2"),
                           (numpy.zeros((1,) * 7, numpy.float32), "at most 6")):
            with pytest.raises(ValueError, match=words):
                method(bad)
        with pytest.raises(ValueError, match="takes 1"):
            method()
    with pytest.raises(ValueError, match="closed"):
        method(numpy.zeros((1, 12), numpy.float32))
    with pytest.raises(RuntimeError, match="no method 'backward'"):
        diffulex_edge.Method(FOLDER / "mlp_dynamic.pte", "backward")


def test_state_is_kept_and_reset():
    recorded = calls("running_mean")
    with diffulex_edge.Method(FOLDER / "running_mean.pte") as method:
        assert method.state_bytes > 0
        for _ in range(2):
            for inputs, want in recorded:
                for a, b in zip(method(*inputs), want):
                    assert_alike(a, b, "running_mean")
            method.reset()


def test_results_do_not_depend_on_threads_and_pools_are_shared():
    inputs = [x for x, _ in calls("decoder_cache_dynamic")]
    with diffulex_edge.Method(FOLDER / "decoder_cache_dynamic.pte", threads=1) as alone:
        want = [alone(*x) for x in inputs]
    with diffulex_edge.ThreadPool(3) as pool, \
            diffulex_edge.Method(FOLDER / "decoder_cache_dynamic.pte", pool=pool) as shared:
        for x, y in zip(inputs, want):
            assert numpy.array_equal(shared(*x), y)


def test_outputs_belong_to_the_caller():
    with diffulex_edge.Method(FOLDER / "mlp_dynamic.pte") as method:
        first = method(numpy.ones((2, 12), numpy.float32))
        kept = first.copy()
        method(numpy.zeros((16, 12), numpy.float32))
        assert numpy.array_equal(first, kept)


def test_one_thread_at_a_time():
    with diffulex_edge.Method(FOLDER / "mlp_dynamic.pte") as method:
        refused = []

        def other():
            try:
                method(numpy.zeros((1, 12), numpy.float32))
            except RuntimeError as error:
                refused.append(str(error))
        with method._turn.take():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert refused and "another thread" in refused[0]


# ---- command line ----------------------------------------------------------------------------------------------------

def write_inputs(path, arrays):
    from safetensors.numpy import save_file
    save_file({f"input_{i}": numpy.ascontiguousarray(a) for i, a in enumerate(arrays)}, path)


@pytest.mark.parametrize("name", ("integers", "gathers", "matrices_xnnpack", "embedding_bag"))
def test_run_reads_and_writes_safetensors(name, tmp_path):
    load_file = oracle("safetensors.numpy", "the program's output files are").load_file
    (inputs, want), *_ = calls(name)
    write_inputs(tmp_path / "in.safetensors", inputs)
    assert run("run", FOLDER / f"{name}.pte", "--input", tmp_path / "in.safetensors", "--output",
               tmp_path / "out.safetensors", "--threads", 1) == ""
    got = load_file(tmp_path / "out.safetensors")
    assert sorted(got) == sorted(f"output_{i}" for i in range(len(want)))
    for i, array in enumerate(want):
        assert_alike(got[f"output_{i}"], array, name)


def test_run_repeats_with_state(tmp_path):
    load_file = oracle("safetensors.numpy", "the program's output files are").load_file
    write_inputs(tmp_path / "in.safetensors", [numpy.float32([1, 2, 3])])
    report = json.loads(run("run", FOLDER / "running_mean.pte", "--input", tmp_path / "in.safetensors", "--output",
                            tmp_path / "out.safetensors", "--repeat", 5, "--json"))
    assert report["calls"] == 5 and report["state_bytes"] > 0 and report["fastest_ms"] >= 0
    assert report["outputs"] == [{"dtype": "float32", "shape": [3]}, {"dtype": "int64", "shape": [1]}]
    got = load_file(tmp_path / "out.safetensors")
    assert got["output_1"].tolist() == [5]
    numpy.testing.assert_allclose(got["output_0"], [1, 2, 3], rtol=1e-6)


def test_run_refuses_with_a_sentence(tmp_path):
    oracle("safetensors.numpy", "the program's output files are")
    write_inputs(tmp_path / "in.safetensors", [numpy.zeros((3, 11), numpy.float32)])
    assert "exactly 12" in run("run", FOLDER / "mlp_dynamic.pte", "--input", tmp_path / "in.safetensors", status=1)
    assert "has no tensor input_1" in run("run", FOLDER / "matrices.pte", "--input", tmp_path / "in.safetensors", status=1)
    assert "needs --input" in run("run", FOLDER / "mlp_dynamic.pte", status=2)
    for damage in (b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"):
        (tmp_path / "bad.safetensors").write_bytes(damage)
        message = run("run", FOLDER / "mlp_dynamic.pte", "--input", tmp_path / "bad.safetensors", status=1)
        assert "is not a safetensors file" in message or "has no tensor" in message
    header = json.dumps({"input_0": {"dtype": "F32", "shape": [2, 12], "data_offsets": [0, 96]}}).encode()
    (tmp_path / "short.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(95))
    assert "does not fit" in run("run", FOLDER / "mlp_dynamic.pte", "--input", tmp_path / "short.safetensors", status=1)


def test_inspect_says_what_runs_fused():
    report = json.loads(run("inspect", FOLDER / "decoder_cache_dynamic.pte", "--json"))
    assert report["runnable"] and report["callable"] and report["fused"]
    fused = report["operators"]["fused"]
    assert fused["attention"] == 2 and fused["rms_norm"] == 9 and fused["rope"] == 4 and fused["silu_mul"] == 2
    assert fused["embedding"] >= 3 and fused["linear"] == 15
    assert set(report["operators"]["node_by_node"]) <= {"ADD", "MUL"}
    report = json.loads(run("inspect", FOLDER / "sdpa_mask.pte", "--json"))
    assert not report["runnable"] and report["callable"] and report["reason"]
    assert report["operators"]["fused"] == {"sdpa": 1} and set(report["operators"]["node_by_node"]) == {"TRANSPOSE"}
    report = json.loads(run("inspect", FOLDER / "sdpa_causal_gqa.pte", "--json"))
    assert report["operators"]["node_by_node"]["SOFTMAX"] == 1 and report["operators"]["node_by_node"]["BMM"] == 2
    text = run("inspect", FOLDER / "llama_ring.pte")
    assert "it runs as a method, but not in sessions: method 'forward'" in text and "node by node" in text
    assert "1 sdpa" in text and str(FOLDER) not in text.splitlines()[-1]


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n.startswith("official_")])
def test_official_llama_exports_generate(name):
    """Sessions, generate and inspect on the files of export_llama; the same program as a method decodes the same ids."""
    report = json.loads(run("inspect", FOLDER / f"{name}.pte", "--json"))
    fused = report["operators"]["fused"]
    assert report["runnable"] and report["fused"] and fused["attention"] * 2 == fused["rope"] >= 2
    assert report["memory"]["max_context"] == 24 == report["metadata"]["get_max_context_len"][0]
    as_method = diffulex_edge.inspect_method(FOLDER / f"{name}.pte")
    assert as_method["runs"]["fused"]["sdpa"] == fused["attention"] and as_method["runs"]["fused"]["rope"] == fused["rope"]
    assert "SOFTMAX" not in as_method["runs"]["node_by_node"] and as_method["memory"]["states"] > 0
    prompt, ids = [3, 1, 4, 1, 5], []
    generated = json.loads(run("generate", FOLDER / f"{name}.pte", "--token-ids", ",".join(map(str, prompt)),
                               "--max-new-tokens", 6, "--json"))["answer_ids"]
    with diffulex_edge.Method(FOLDER / f"{name}.pte") as method:
        for position, token in enumerate(prompt):
            logits = method(numpy.array([[token]]), numpy.array([position]))
        stops = report["metadata"].get("get_eos_ids", [])
        for position in range(len(prompt), len(prompt) + 6):
            token = int(logits.reshape(-1).argmax())
            if token in stops:
                break
            ids.append(token)
            logits = method(numpy.array([[token]]), numpy.array([position]))
    assert generated == ids


def test_inspect_and_run_by_method(tmp_path):
    path = OTHERS / "two_methods.pte"
    text = run("inspect", path)
    assert "method encode\n" in text and "method decode\n" in text and "  fused            1 linear\n" in text
    assert "no method 'forward'; it has 'decode', 'encode'" in text and "cannot execute" not in text
    report = json.loads(run("inspect", path, "--json"))
    assert not report["runnable"] and report["callable"]
    assert [m["name"] for m in report["methods"] if m["callable"] and m["memory"]["total"] > m["memory"]["packed"]] == [
        "decode", "encode"]
    assert report["metadata"]["get_ids"] == [4, 5]
    one = json.loads(run("inspect", path, "--method", "decode", "--json"))
    assert one == report["methods"][0] == diffulex_edge.inspect_method(path, "decode")
    assert one["runs"] == {"fused": {"linear": 1}, "node_by_node": {"LAYER_NORM": 1}}
    graph = run("inspect", path, "--method", "decode", "--graph")
    assert "LAYER_NORM" in graph and graph == diffulex_edge.inspect_graph(path, method="decode")
    assert "SDPA" in run("inspect", FOLDER / "official_kv.pte", "--method", "forward", "--graph")
    assert "ATTENTION" in run("inspect", FOLDER / "official_kv.pte", "--graph")
    assert "it has 'decode', 'encode'" in run("inspect", path, "--method", "other", status=1)
    assert "holds          4, 5" in run("inspect", path, "--method", "get_ids")
    assert json.loads(run("inspect", path, "--method", "get_name", "--json"))["holds"] == ["two"]
    assert "leave them" in run("inspect", path, "--method", "decode", "--sessions", 2, status=2)
    assert "it has 'decode', 'encode'" in run("run", path, status=1)
    assert "takes 1 tensor" in run("run", path, "--method", "encode", status=2)
    report = json.loads(run("run", path, "--method", "get_ids"))
    assert [o["value"] for o in report["outputs"]] == [4, 5] and report["outputs"][0]["dtype"] == "int64"
    assert "returns the text 'two'" in run("run", path, "--method", "get_name", status=1)
    with diffulex_edge.Method(path, "get_scale") as method:
        assert method.inputs == [] and method() == 0.5 and method().shape == ()
    write_inputs(tmp_path / "in.safetensors", [numpy.ones((3, 12), numpy.float32)] * 2)
    done = subprocess.run([CLI, "run", path, "--method", "encode", "--input", tmp_path / "in.safetensors"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "tensor input_1 belongs to no input" in done.stderr


@pytest.mark.parametrize("name, words", (("mlp_float16", "addmm"), ("mlp_bfloat16", "addmm"), ("convolution", "Conv2d"),
                                         ("padding", "StaticConstantPad"), ("mlp_static_int8", "static quantisation")))
def test_what_is_missing_is_named(name, words):
    with pytest.raises(RuntimeError, match=words) as refused:
        diffulex_edge.Method(OTHERS / f"{name}.pte")
    assert type(refused.value).__name__ == "UnsupportedError"
    assert words in run("inspect", OTHERS / f"{name}.pte")


def test_inputs_that_do_not_go_together():
    """The file is right, the call is not: ValueError."""
    with diffulex_edge.Method(FOLDER / "decoder_cache_dynamic.pte") as method:
        with pytest.raises(ValueError, match="do not go together"):
            method(numpy.array([[1, 2, 3]]), numpy.array([0, 1]))
