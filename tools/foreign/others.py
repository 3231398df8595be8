"""What the runtime refuses, or runs only as methods: files without recorded answers."""
import torch
import torch.nn.functional as F
from torch import nn

from foreign.networks import mlp
from foreign.registry import Function, floats, program


@program(lambda: [floats((3, 12))], lowering="portable", folder="others", dtype=torch.float16)
def mlp_float16():
    return mlp()


@program(lambda: [floats((3, 12))], lowering="portable", folder="others", dtype=torch.bfloat16)
def mlp_bfloat16():
    return mlp()


@program(lambda: [floats((3, 12))], folder="others", dtype=torch.float16)
def mlp_float16_xnnpack():
    return mlp()


@program(lambda: [floats((2, 3))], lowering="portable", folder="others", dtype=torch.bfloat16)
def turn_bfloat16():
    return Function(lambda x: x.t().clone())


@program(lambda: [floats((1, 2, 4, 4))], folder="others")
def convolution():
    return nn.Conv2d(2, 3, 3)


@program(lambda: [floats((3, 4))], folder="others")
def padding():
    return Function(lambda x: F.pad(x, (1, 2, 0, 1), value=3.0))


@program(lambda: [floats((3, 4))], folder="others")
def returns_none():
    """Where a decoder keeps no cache, some return None in its place."""
    return Function(lambda x: (x + 1, None))


@program(lambda: [floats((3, 12))], folder="others", lowering="static")
def mlp_static_int8():
    return mlp()


@program(lambda: [floats((3, 12))], folder="others", methods=("encode", "decode"))
def two_methods():
    """Neither is called forward; and constants of each kind."""
    return {"encode": nn.Linear(12, 7), "decode": nn.Sequential(nn.Linear(12, 20), nn.LayerNorm(20))}
