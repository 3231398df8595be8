"""Programs with a method for each of several bounds of rows, --method-rows, in the official runtime: the golden logits from
each of them, alone and in turn over one cache, and the bounds."""
import json
import warnings

import numpy
import pytest
from oracles import oracle

import diffulex_edge

torch = oracle("torch", "programs of several methods are")
oracle("executorch.runtime", "programs of several methods are")
from executorch.runtime import Runtime, Verification  # noqa: E402
from layout_a import StockRuntime  # noqa: E402
from program import DATA, fail, run, run_json  # noqa: E402
from six_inputs import SixInputs  # noqa: E402
from test_kv_forms import MODELS, golden, relative  # noqa: E402
from test_quantised_files import ODD  # noqa: E402

CONTEXT = 128


@pytest.fixture(scope="module")
def pte(tmp_path_factory):
    """pte(model, scheme, kv, rows, method_rows) -> path"""
    folder, paths = tmp_path_factory.mktemp("methods"), {}

    def export(model, scheme="none", kv="caller", rows=64, method_rows=(), **options):
        key = "-".join(map(str, (model, scheme, kv, rows, *method_rows, *options)))
        if key not in paths:
            path = folder / f"{key}.pte"
            rules = ODD.get(scheme, {}).get(model)
            if rules:
                recipe = folder / f"{key}.json"
                recipe.write_text(json.dumps({"default": scheme, "tensors": [
                    {"pattern": p, "scheme": form} for p, form in rules.items()]}))
                options["quantization_config"] = recipe
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                diffulex_edge.export_checkpoint(DATA / "checkpoints" / model, path, max_seq_len=CONTEXT, max_rows=rows,
                                                quantization=None if rules else scheme, kv=kv, method_rows=method_rows,
                                                **options)
            paths[key] = path
        return paths[key]

    return export


def widest(model):
    """The golden case whose blocks are widest, and that width."""
    return max(golden(model), key=lambda case: case[1])


class Methods(StockRuntime):
    """Methods of one program over one cache; `with_method` chooses."""

    def __init__(self, path, *names):
        super().__init__(path, CONTEXT)
        self.methods = {name: self.program.load_method(name) for name in ("forward", *names)}

    def with_method(self, name):
        self.method = self.methods[name]
        return self


# ---- the callers' caches ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["none", "int8-dynamic", "int4-g32"])
@pytest.mark.parametrize("model", MODELS)
def test_every_method_gives_the_logits(pte, model, scheme):
    """Goldens in float32; in other schemes what a file of that bound alone gives, to the bit."""
    ids, width, want = widest(model)
    path = pte(model, scheme, "caller", 64, (width, width + 3))
    runs = Methods(path, f"forward_{width}", f"forward_{width + 3}")
    logits = {name: runs.with_method(name).block_causal(ids, width) for name in runs.methods}
    for name, rows in (("forward", 64), (f"forward_{width}", width), (f"forward_{width + 3}", width + 3)):
        alone = StockRuntime(pte(model, scheme, "caller", rows), CONTEXT).block_causal(ids, width)
        assert torch.equal(logits[name], alone), name
        if scheme == "none":
            assert relative(logits[name], want) < 1e-4, name


@pytest.mark.parametrize("model", MODELS)
def test_a_method_takes_no_more_rows_than_it_is_for(pte, model):
    runs = Methods(pte(model, "none", "caller", 64, (8, 1)), "forward_8", "forward_1")
    for name, rows in (("forward", 64), ("forward_8", 8), ("forward_1", 2)):
        method = runs.with_method(name)
        assert method.forward([5] * rows).shape[0] == rows
        assert tuple(method.method.metadata.input_tensor_meta(0).sizes()) == (rows,)
        with pytest.raises(RuntimeError):
            method.forward([5] * (rows + 1))


def test_methods_take_turns_over_one_cache(pte):
    """The prompt by the large method, blocks by the small one: what an application does."""
    ids, width, want = next(golden("sdar-tiny"))
    runs, prompt = Methods(pte("sdar-tiny", "none", "caller", 64, (width,)), f"forward_{width}"), len(ids) // 2 // width * width
    first = runs.with_method("forward").block_causal(ids[:prompt], width)
    rest = []
    for p in range(prompt, len(ids), width):
        small = runs.with_method(f"forward_{width}")
        small.forward([1226] * width, p, range(p))    # a pass that leaves nothing
        rest.append(small.forward(ids[p:p + width], p, range(p), True))
    assert len(rest) > 1 and relative(torch.cat([first, *rest]), want) < 1e-4


# ---- states ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["none", "int8-dynamic", "int4-g32"])
@pytest.mark.parametrize("order", [("forward", "forward_4"), ("forward_4", "forward")])
def test_states_are_one_where_memory_is(pte, scheme, order):
    """Runtimes whose methods share memory (Runtime.load_program, Module with share_memory_arenas) have one cache."""
    ids, width, want = next(golden("sdar-tiny"))
    program = Runtime.get().load_program(str(pte("sdar-tiny", scheme, "state", 64, (4,))),
                                         verification=Verification.InternalConsistency)
    methods = {name: program.load_method(name) for name in order}

    def blocks(names):
        return torch.cat([methods[names[p // width % len(names)]].execute(
            [torch.tensor([ids[p:p + width]]), torch.arange(p, p + width)])[0][0].clone()
            for p in range(0, len(ids), width)])
    alone = blocks(["forward"])
    methods["forward"].execute([torch.tensor([[9] * 40]), torch.arange(40)])
    assert torch.equal(blocks(order), alone)
    if scheme == "none":
        assert relative(alone, want) < 1e-4


# ---- the six inputs --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model", ["sdar-tiny", "dream-tiny"])
def test_methods_of_the_six_inputs(pte, model):
    ids, width, want = widest(model)
    path = pte(model, "none", "explicit", width, (width + 4,))
    for name in ("forward", f"forward_{width + 4}"):
        runs = SixInputs(path)
        runs.method = runs.program.load_method(name)
        runs.shape = [list(runs.method.metadata.input_tensor_meta(i).sizes()) for i in range(6)]
        runs.rows = runs.shape[0][1]
        assert relative(runs.block_causal(ids, width), want) < 1e-4


# ---- calibrated weights ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme, options", [("int4-g32", {"rounding": "gptq"}), ("int8-static", {}),
                                             ("int8-static", {"rounding": "gptq"})])
def test_what_calibration_found_is_in_every_method(pte, tmp_path, scheme, options):
    data = tmp_path / "data.jsonl"
    data.write_text('{"ids": [%s]}\n' % ", ".join(str(5 + i % 300) for i in range(48)))
    options = dict(options, calibration=data, calibration_samples=4)
    ids, width, _ = next(golden("sdar-tiny"))
    runs = Methods(pte("sdar-tiny", scheme, "caller", 64, (8,), **options), "forward_8")
    alone = StockRuntime(pte("sdar-tiny", scheme, "caller", 64, **options), CONTEXT).block_causal(ids, width)
    for name in runs.methods:
        assert torch.equal(runs.with_method(name).block_causal(ids, width), alone)


# ---- this library ----------------------------------------------------------------------------------------------------

def test_sessions_and_answers_are_those_of_one_method(pte):
    one, two = (pte("sdar-tiny", "int8-dynamic", "caller", 64, rows) for rows in ((), (8,)))
    ids = next(golden("sdar-tiny"))[0]
    models = [diffulex_edge.Model(path) for path in (one, two)]
    assert models[0].facts == models[1].facts
    logits = [numpy.array(m.session().forward(ids, store=True)) for m in models]
    assert numpy.array_equal(*logits)
    assert diffulex_edge.inspect(one)["memory"]["packed"] == diffulex_edge.inspect(two)["memory"]["packed"]
    parts = [diffulex_edge.inspect(path)["parts"] for path in (one, two)]
    assert {p: n for p, n in parts[0].items() if p != "program"} == {p: n for p, n in parts[1].items() if p != "program"}
    assert sum(parts[1].values()) == two.stat().st_size


def test_the_command_line(tmp_path):
    checkpoint, path = DATA / "checkpoints" / "sdar-tiny", tmp_path / "x.pte"
    report = run_json("export", checkpoint, path, "--max-rows", "64", "--method-rows", "16,4", "--json")
    assert sum(report["parts"].values()) == report["file_bytes"] == path.stat().st_size
    metadata = diffulex_edge.inspect(path)["metadata"]
    assert metadata["get_methods"] == ["forward", "forward_16", "forward_4"]
    assert metadata["get_methods_max_seq_len"] == [64, 16, 4]
    method = diffulex_edge.inspect_method(path, "forward_4")
    assert method["callable"] and method["inputs"][0]["shape"] == [4]
    assert "method forward_16\n" in run("inspect", path)
    for wrong in ("", "4,", "4;8", "0", "x", "-1", ",".join("12345678"), "4,99999999"):
        assert "--method-rows" in fail("export", checkpoint, path, "--method-rows", wrong, status=2)
    assert "'forward_4' is for as many already" in fail("export", checkpoint, path, "--method-rows", "4,4")
