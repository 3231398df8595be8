"""Several methods of one program over Core ML: from iOS18 on they are functions of one package, whose weights are there once.
Read by ExecuTorch's own parser and by coremltools, and compared with what ExecuTorch's exporter writes, and with programs
of one method; and a cache that stays in Core ML, likewise."""
import json

import numpy as np
import pytest

import diffulex_edge
from oracles import oracle
from program import DATA

ct = oracle("coremltools", "methods over Core ML are")
tools = oracle("executorch.exir._serialize._program", "methods over Core ML are")
torch = oracle("torch", "what ExecuTorch's exporter keeps is")
exir = oracle("executorch.exir", "what ExecuTorch's exporter keeps is")
compiler = oracle("executorch.backends.apple.coreml.compiler", "what ExecuTorch's exporter keeps is")
partition = oracle("executorch.backends.apple.coreml.partition", "what ExecuTorch's exporter keeps is")
from coreml_part import CoremlFile  # noqa: E402

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("methods"), {}

    def of(model, rows, more=(), method="forward", **options):
        """A method of a file."""
        key = "-".join(map(str, (model, rows, *more, *options.values())))
        if key not in made:
            made[key] = folder / f"{key}.pte"
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / f"{model}-tiny", made[key], backend="coreml",
                                            max_seq_len=64, max_rows=rows, method_rows=list(more), exclude=["embed*"],
                                            **options)   # the table: rows of integers are widened by XNNPACK
        return CoremlFile(made[key], folder / f"{key}-{method}-{len(list(folder.iterdir()))}", method)

    return of


def call(file, seed):
    """Logits and new rows, of numbers that go in."""
    rng, arrays = np.random.default_rng(seed), []
    (rows, slots), _ = file.input("mask")
    for name in file.input_names():
        shape, dtype = file.input(name)
        if name == "tokens":
            arrays.append(rng.integers(0, 1000, shape))
        elif name == "positions":
            arrays.append(np.arange(rows) + 5)
        elif name == "mask":
            arrays.append(np.where(np.arange(slots) % 3 == 0, -10000.0, 0.0).astype(np.float32) * np.ones((rows, 1), np.float32))
        else:
            arrays.append(rng.standard_normal(shape).astype(dtype))
    return file(*arrays)


def places(program):
    """Where a function's constants lie in the file of weights."""
    return {op.attributes["val"].blobFileValue.offset for op in program.block().operations
            if op.type == "const" and op.attributes["val"].HasField("blobFileValue")}


@pytest.mark.parametrize("model, quantization", [("sdar", "fp16"), ("sdar", "int4-g32"), ("dream", "int8"), ("llada", "fp16"),
                                                 ("fast_dllm_v2", "int8")])
def test_methods_are_functions_over_the_same_weights(written, model, quantization):
    rows = (16, 8, 5)
    single = [written(model, n, quantization=quantization) for n in rows]
    shared = [written(model, rows[0], rows[1:], method, quantization=quantization)
              for method in ("forward", "forward_8", "forward_5")]
    (key,) = {k for file in shared for k in file.keys}
    (delegate,), names = shared[0].delegates, ["forward", "forward_8", "forward_5"]
    assert key == "coreml_" + delegate.about_all["identifier"]
    assert ct.libmodelpackage.ModelPackage.isValid(str(delegate.package))
    spec = delegate.program.spec
    assert spec.specificationVersion == 9 and sorted(spec.mlProgram.functions) == sorted(names)
    assert [f.name for f in spec.description.functions] == names and spec.description.defaultFunctionName == "forward"
    assert not spec.description.input and not spec.description.output
    # The wire format is the canonical one, and each weight is there once: the file is that of a single method.
    assert spec.ByteSize() == (delegate.package / "Data/com.apple.CoreML/model.mlmodel").stat().st_size
    assert (delegate.package / WEIGHTS).read_bytes() == (single[0].delegates[0].package / WEIGHTS).read_bytes()
    assert places(shared[0].delegates[0].program) == places(shared[1].delegates[0].program) != set()
    for i, (one, other) in enumerate(zip(shared, single)):
        program = one.delegates[0].program
        program.check_declared_types()
        assert [f.name for f in spec.description.functions[i].input] == one.delegates[0].metadata["inputNames"]
        assert [f.name for f in spec.description.functions[i].output] == one.delegates[0].metadata["outputNames"]
        assert program.operators() == other.delegates[0].program.operators()
        for x, y in zip(call(one, i), call(other, i), strict=True):
            assert x.shape == y.shape and (x == y).all()


def test_each_part_has_a_program_of_its_own(written):
    files = [written("sdar", 8, (4,), method, quantization="fp16", delegate_layers=1) for method in ("forward", "forward_4")]
    assert files[0].keys == files[1].keys and len(set(files[0].keys)) == 2
    whole = written("sdar", 4, quantization="fp16")
    for x, y in zip(call(files[1], 3), call(whole, 3), strict=True):
        assert (x == y).all()


def test_older_targets_have_a_package_for_each_method(written):
    for method in ("forward", "forward_4"):
        file = written("sdar", 8, (4,), method, quantization="fp16", minimum_deployment_target="iOS17")
        (delegate,) = file.delegates
        assert not file.keys and list(delegate.program.spec.mlProgram.functions) == ["main"]


def filled(message):
    return {field.name for field, _ in message.ListFields()}


def test_the_file_is_laid_out_as_the_official_exporter_does(written, tmp_path):
    """Words and fields, of a program that ExecuTorch made of two methods with common weights."""
    official = tools.deserialize_pte_binary((DATA / "format" / "official_coreml_shared.pte").read_bytes())
    method = official.program.execution_plan[0].name
    theirs = CoremlFile(DATA / "format" / "official_coreml_shared.pte", tmp_path / "theirs", method)
    ours = written("sdar", 16, (8, 5), quantization="fp16")
    references = []
    for file in (theirs, ours):
        data = bytes(file.program.backend_delegate_data[file.plan.delegates[0].processed.index].data)
        assert data[:4] == b"CMJR"
        references.append(json.loads(data[4:]))
    assert references[0].keys() == references[1].keys() and references[0]["version"] == references[1]["version"]
    assert all(r["key"].startswith("coreml_executorch_") for r in references)
    assert [d.about_all.keys() for d in theirs.delegates] == [d.about_all.keys() for d in ours.delegates]
    a, b = theirs.delegates[0], ours.delegates[0]
    assert a.metadata.keys() == b.metadata.keys()
    assert filled(b.program.spec) == filled(a.program.spec)
    assert filled(b.program.spec.description) <= filled(a.program.spec.description)
    assert filled(b.program.spec.description) >= {"functions", "defaultFunctionName"}
    assert filled(b.program.spec.description.functions[0]) == filled(a.program.spec.description.functions[0])
    compiled = {s.key for s in theirs.plan.delegates[0].compile_specs}
    assert {s.key for s in ours.plan.delegates[0].compile_specs} <= compiled


class Keeper(torch.nn.Module):
    """Keeps rows, as a cache does."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(64, 32))

    def forward(self, x, position):
        first = position[0].item()
        torch._check(0 <= first)
        torch._check(first + 4 <= 64)
        self.cache.narrow(0, first, 4).copy_(x)
        return self.cache @ x.T


def official_state(path):
    """A program whose buffer ExecuTorch's exporter has moved into Core ML."""
    specs = compiler.CoreMLBackend.generate_compile_specs(minimum_deployment_target=ct.target.iOS18)
    program = torch.export.export(Keeper(), (torch.randn(4, 32), torch.tensor([3])))
    partitioner = [partition.CoreMLPartitioner(compile_specs=specs, take_over_mutable_buffer=True)]
    path.write_bytes(exir.to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch().buffer)


def test_a_cache_is_kept_as_the_official_exporter_keeps_buffers(written, tmp_path):
    """Neither delegates nor methods are given it; the package describes it alike, and has it read and written by the same
    operators."""
    official_state(tmp_path / "official.pte")
    files = CoremlFile(tmp_path / "official.pte", tmp_path / "official"), written("sdar", 4, quantization="fp16", kv="fixed-state")
    described, used = [], []
    for file in files:
        (delegate,), program = file.delegates, file.delegates[0].program
        names = {f.name for f in program.spec.description.state}
        assert names == set(program.states) and not names & set(delegate.metadata["inputNames"] + delegate.metadata["outputNames"])
        assert not names & {
            getattr(v.val.extra_tensor_info, "fully_qualified_name", "") for v in file.plan.values
            if type(v.val).__name__ == "Tensor"}
        kinds = [op.type for op in program.block().operations]
        used.append([kind for kind in kinds if "state" in kind or "update" in kind])
        state = program.spec.description.state[0]
        described.append((filled(state), filled(state.type), filled(state.type.stateType), filled(state.type.stateType.arrayType),
                          state.type.stateType.arrayType.dataType))
    assert described[0] == described[1]
    assert set(used[0]) == set(used[1]) == {"read_state", "slice_update", "write_state"}
    assert used[1].count("write_state") == used[1].count("slice_update") == len(files[1].states())
