"""What diffulex_edge.Method takes as arrays: byte orders, layouts, Python's numbers, bfloat16; and what it says of the rest."""
import numpy
import pytest

import diffulex_edge
from diffulex_edge.arrays import input_array
from foreign_io import FOLDER, calls
from oracles import oracle


@pytest.fixture(scope="module")
def mlp():
    with diffulex_edge.Method(FOLDER / "mlp_dynamic.pte") as method:
        yield method


@pytest.fixture(scope="module")
def example(mlp):
    """(input, answer) of recorded calls."""
    (x,), (y,) = calls("mlp_dynamic")[0]
    return x, mlp(x)


@pytest.mark.parametrize("order", ["<", ">", "="])
def test_byte_order_does_not_matter(mlp, example, order):
    x, y = example
    assert numpy.array_equal(mlp(x.astype(numpy.dtype("float32").newbyteorder(order))), y)


def test_integers_of_the_other_byte_order():
    inputs, _ = calls("embedding_int8")[0]
    with diffulex_edge.Method(FOLDER / "embedding_int8.pte") as method:
        want = method(*inputs)
        assert numpy.array_equal(method(*[x.astype(x.dtype.newbyteorder(">")) for x in inputs]), want)


def test_layout_does_not_matter(mlp, example):
    x, y = example
    shifted = numpy.frombuffer(b"\0" + x.tobytes(), numpy.float32, offset=1).reshape(x.shape)
    assert not shifted.flags.aligned
    for same in (numpy.asfortranarray(x), shifted, numpy.repeat(x, 2, 0)[::2], x[:, ::-1][:, ::-1]):
        assert numpy.array_equal(mlp(same), y)


def test_lists_of_numbers_become_the_methods_type(mlp, example):
    x, y = example
    assert numpy.array_equal(mlp(x.tolist()), y)
    assert numpy.array_equal(mlp([[1] * 12]), mlp(numpy.ones((1, 12), numpy.float32)))
    assert mlp([[True] * 12]).shape == (1, 7)


def test_numbers_that_the_type_does_not_hold_are_refused(mlp):
    for bad, words in (([[1e39] * 12], "input 0 holds 1e\\+39, which float32 does not"),
                       ([["a"] * 12], "input 0 holds str.*expected numbers"),
                       ([[1.0] * 12, [1.0]], "input 0 is no array"),
                       (None, "input 0 holds object; expected numbers, for float32")):
        with pytest.raises(ValueError, match=words):
            mlp(bad)
    with pytest.raises(ValueError, match="input 0 holds floats; expected int64"):
        input_array([1.5], "int64", 0)
    with pytest.raises(ValueError, match="input 3 holds 300, which uint8 does not"):
        input_array([300], "uint8", 3)
    with pytest.raises(ValueError, match="holds integers; expected bool"):
        input_array([0, 1], "bool", 0)
    assert input_array(7, "int64", 0)[0].shape == ()
    assert input_array([], "int64", 0)[0].dtype == numpy.int64


def test_arrays_keep_their_type(mlp):
    for dtype in ("float64", "float16", "int64", "uint32", "complex64", "bool"):
        with pytest.raises(ValueError, match=f"input 0 holds {dtype}; expected float32, .*astype\\('float32'\\)"):
            mlp(numpy.zeros((3, 12), dtype))
    with pytest.raises(ValueError, match="2 inputs were given; the method takes 1"):
        mlp(1, 2)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """bfloat16 [3, 4] -> its transpose, and itself twice."""
    torch = oracle("torch", "bfloat16 through a program is")
    exir = oracle("executorch.exir", "bfloat16 through a program is")

    class Moves(torch.nn.Module):
        def forward(self, x):
            return x.transpose(0, 1).contiguous(), torch.cat([x, x])

    path = tmp_path_factory.mktemp("bf16") / "moves.pte"
    program = torch.export.export(Moves(), (torch.zeros(3, 4, dtype=torch.bfloat16),))
    path.write_bytes(exir.to_edge(program).to_executorch().buffer)
    with diffulex_edge.Method(path) as method:
        yield method


def test_bfloat16_of_torch_passes_bit_by_bit(halves):
    torch = oracle("torch", "bfloat16 through a program is")
    assert halves.inputs[0].dtype == "bfloat16"
    x = torch.tensor([[1.0, -2.5, 3.141592, 1e-40], [float("inf"), -float("inf"), 0.0, -0.0],
                      [65504.0, 3e38, float("nan"), 7.0]], dtype=torch.bfloat16)
    across, twice = halves(x)
    assert across.dtype == numpy.float32
    assert numpy.array_equal(across, x.float().numpy().T, equal_nan=True)
    assert numpy.array_equal(twice, torch.cat([x, x]).float().numpy(), equal_nan=True)
    assert numpy.array_equal(halves(x.T.contiguous().T)[0], across, equal_nan=True)


def test_float32_is_rounded_to_bfloat16_as_torch_does(halves):
    torch = oracle("torch", "bfloat16 through a program is")
    bits = numpy.random.default_rng(3).integers(0, 2**32, 30000, numpy.uint32)
    ties = (numpy.arange(6000, dtype=numpy.uint32) << 16) | 0x8000
    for x in numpy.concatenate([bits, ties]).view(numpy.float32).reshape(-1, 3, 4):
        got = halves(x)[0]
        want = torch.from_numpy(x.copy()).to(torch.bfloat16).float().numpy().T
        assert numpy.array_equal(got, want, equal_nan=True)
    assert numpy.array_equal(halves([[0.1] * 4] * 3)[0], halves(numpy.full((3, 4), 0.1, numpy.float32))[0])
    with pytest.raises(ValueError, match="holds float64; expected bfloat16"):
        halves(numpy.zeros((3, 4)))
