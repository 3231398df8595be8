"""The registry of programs, and what all of them are made with: sizes, inputs, functions as modules."""
import torch
from torch import nn

SCALAR_TYPES = {torch.uint8: 0, torch.int8: 1, torch.int32: 3, torch.int64: 4, torch.float32: 6, torch.bool: 11}
VOCABULARY, WIDTH, HEADS, KV, DIM, CONTEXT = 40, 16, 4, 2, 8, 24

PROGRAMS = {}


def program(calls, lowering="xnnpack", dynamic=None, **kwargs):
    """Registers a function that makes a module under its name; `calls` makes the list of input tuples."""
    def register(make):
        PROGRAMS[make.__name__] = dict(make=make, calls=calls, lowering=lowering, dynamic=dynamic, **kwargs)
        return make
    return register


def floats(*shapes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*s, generator=generator) for s in shapes)


def ids(*shape, seed=1, high=VOCABULARY):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def batch(least, most, name="batch"):
    return torch.export.Dim(name, min=least, max=most)


class Function(nn.Module):
    """A function of tensors as a module; tensors in `constants` become buffers."""

    def __init__(self, function, **constants):
        super().__init__()
        self.function = function
        self.names = list(constants)
        for name, value in constants.items():
            self.register_buffer(name, value)

    def forward(self, *args):
        return self.function(*args, **{n: getattr(self, n) for n in self.names})
