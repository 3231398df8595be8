"""Recorded calls of the programs in tests/data/foreign (written by tools/make_foreign_programs.py)."""
import struct
from pathlib import Path

import numpy

FOLDER = Path(__file__).resolve().parent.parent / "data" / "foreign"
PROGRAMS = sorted(p.stem for p in FOLDER.glob("*.pte"))
TYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 6: "float32", 11: "bool"}


def calls(name):
    """[(inputs, outputs)] of arrays."""
    data = (FOLDER / f"{name}.io").read_bytes()
    at = 8
    assert data[:8] == b"DLXIO1\0\0"

    def numbers(n):
        nonlocal at
        out = struct.unpack_from(f"<{n}q", data, at)
        at += 8 * n
        return out

    def tensor():
        nonlocal at
        kind, rank = numbers(2)
        shape = numbers(rank)
        dtype = numpy.dtype(TYPES[kind])
        count = int(numpy.prod(shape, dtype=int))
        array = numpy.frombuffer(data, dtype, count, at).reshape(shape)
        at += -(-count * dtype.itemsize // 8) * 8
        return array

    out = []
    for _ in range(numbers(1)[0]):
        n_in, n_out = numbers(2)
        out.append(([tensor() for _ in range(n_in)], [tensor() for _ in range(n_out)]))
    return out


def tolerance(name):
    """int8 activations: one step of a rounding tie, and scales that a file rounds. Floats: sums in another order."""
    return 2e-2 if "8da" in name else 2e-5


def assert_alike(got, want, name):
    assert got.dtype == want.dtype and got.shape == want.shape, name
    if want.dtype != numpy.float32:
        assert numpy.array_equal(got, want), name
        return
    finite = numpy.isfinite(want)
    largest = max(float(numpy.abs(want[finite]).max(initial=0)), 1e-3)
    numpy.testing.assert_allclose(got, want, rtol=0, atol=tolerance(name) * largest, equal_nan=True, err_msg=name)
