"""Arrays of callers as the library takes tensors, and what it gives as arrays.

Arrays keep their element type: another one than the method takes is refused. Only their layout is made what the library
reads: row-major, aligned, the machine's byte order. Python's own numbers have no element type and become the method's.
numpy has no bfloat16, so such tensors come as float32, which holds each of their numbers exactly, and are taken from
float32 (rounded to nearest, ties to even) besides torch's own.
"""
import ctypes
import math
from typing import Any, Dict, Optional, Tuple

from . import _native

__all__ = ["ELEMENTS", "input_array", "output_array", "tensor_of"]

# dlx_element and its name, which is numpy's where numpy has it.
ELEMENTS: Dict[int, str] = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 11: "bool",
                            15: "bfloat16"}
_NUMBERS = {name: number for number, name in ELEMENTS.items()}
_KINDS = "biuf"   # of numbers, a later one holds those before it: bool, integers, floats


def _storage(name: str) -> str:
    """numpy's type for the bits of an element type."""
    return "uint16" if name == "bfloat16" else name


def _round_to_bfloat16(array: Any) -> Any:
    """Bits [uint16] of the nearest bfloat16 of each float32."""
    import numpy
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF).astype(numpy.uint32)) >> 16).astype(numpy.uint16)
    nan = ((bits >> 16) | 0x40).astype(numpy.uint16)   # quiet, sign kept
    return numpy.where(numpy.isnan(array), nan, rounded).astype(numpy.uint16)


def _of_torch(value: Any) -> Tuple[Any, str]:
    value = value.detach().cpu().resolve_conj().resolve_neg()
    if str(value.dtype) == "torch.bfloat16":
        import torch
        import numpy
        return value.view(torch.int16).numpy().view(numpy.uint16), "bfloat16"
    array = value.numpy()
    return array, array.dtype.name


def _of_numbers(value: Any, wanted: str, what: str) -> Any:
    """Python's numbers as an array of the element type that is wanted. ValueError for those that it does not hold."""
    import numpy
    try:
        array = numpy.asarray(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what} is no array: {error}") from None
    target = numpy.dtype("float32" if wanted == "bfloat16" else wanted)
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"{what} holds {array.dtype.name}; expected numbers, for {wanted}")
    if not array.size:
        return array.astype(target)
    if "bif".index(array.dtype.kind.replace("u", "i")) > "bif".index(target.kind.replace("u", "i")):
        raise ValueError(f"{what} holds {'floats' if array.dtype.kind == 'f' else 'integers'}; expected {wanted}")
    with numpy.errstate(over="ignore", invalid="ignore"):
        out = array.astype(target)
    lost = numpy.isinf(out) & ~numpy.isinf(array) if target.kind == "f" else out != array
    if lost.any():
        raise ValueError(f"{what} holds {array[lost].ravel()[0]}, which {wanted} does not")
    return out


def input_array(value: Any, wanted: Optional[str], i: int) -> Tuple[Any, str]:
    """(numpy array, element type) of input i, which is to hold `wanted` elements; ValueError when it does not."""
    import numpy
    what = f"input {i}"
    if hasattr(value, "detach"):
        array, name = _of_torch(value)
    elif hasattr(value, "dtype") or hasattr(value, "__array_interface__"):
        array = numpy.asarray(value)
        name = array.dtype.name
        if name == "bfloat16":      # of the package ml_dtypes
            array = array.view(numpy.uint16)
    else:
        name = wanted or "float32"
        array = _of_numbers(value, name, what)
        if name == "bfloat16":
            array = _round_to_bfloat16(array)
    if name == "float32" and wanted == "bfloat16":
        array, name = _round_to_bfloat16(array), "bfloat16"
    if wanted and name != wanted:
        raise ValueError(f"{what} holds {name}; expected {wanted}, which numpy arrays become by .astype({_how(wanted)})")
    if array.ndim > _native.TENSOR_MAX_RANK:
        raise ValueError(f"{what} has {array.ndim} dimensions; methods take at most {_native.TENSOR_MAX_RANK}")
    # Not ascontiguousarray: it makes a vector of a scalar.
    return numpy.require(array, numpy.dtype(_storage(name)), ["C_CONTIGUOUS", "ALIGNED"]), name


def _how(wanted: str) -> str:
    return repr("float32" if wanted == "bfloat16" else wanted)


def tensor_of(tensor: _native.Tensor, array: Any, name: str) -> None:
    """Fills the library's tensor; the array must outlive it."""
    tensor.struct_size = ctypes.sizeof(_native.Tensor)
    tensor.element = _NUMBERS[name]
    tensor.rank = array.ndim
    tensor.size[:array.ndim] = array.shape
    tensor.data = array.ctypes.data


def output_array(tensor: _native.Tensor) -> Any:
    """A copy of what the library gave."""
    import numpy
    name = ELEMENTS[tensor.element]
    dtype = numpy.dtype(_storage(name))
    shape = tuple(tensor.size[:tensor.rank])
    count = math.prod(shape)
    if count:
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(tensor.data)
        array = numpy.frombuffer(raw, dtype).reshape(shape).copy()
    else:
        array = numpy.empty(shape, dtype)
    if name == "bfloat16":
        array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
    return array
