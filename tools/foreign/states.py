"""Kinds of state that are no cache of keys and values."""
import torch
from torch import nn

from foreign.decoders import text_calls
from foreign.registry import DIM, VOCABULARY, floats, program


@program(lambda: [floats((3,), seed=s) for s in range(1, 5)], lowering="portable")
def running_mean():
    class Running(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sum", torch.zeros(3))
            self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

        def forward(self, x):
            self.sum.add_(x)
            self.count.add_(1)
            return self.sum / self.count, self.count + 0
    return Running()


@program(lambda: [floats((3,), seed=s) for s in range(1, 4)], lowering="portable", initialised=("start",))
def initialised_state():
    class Filter(nn.Module):
        """y = 0.5 y + x from a given start."""

        def __init__(self):
            super().__init__()
            self.register_buffer("start", torch.tensor([1.0, -2.0, 3.0]))

        def forward(self, x):
            self.start.mul_(0.5).add_(x)
            return self.start * 1.0
    return Filter()


@program(lambda: text_calls(4, 4, 4, 4, 4, 4, 4), llm=True, initialised=("held",))
def sliding_window():
    """A ring buffer of keys, each with its position: attention over the last eight."""
    class Window(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, DIM)
            self.register_buffer("keys", torch.zeros(16, DIM))
            self.register_buffer("held", torch.full((16,), -1000))

        def forward(self, tokens, positions):
            x = self.embed(tokens)[0]
            slots = positions % 16
            self.keys[slots] = x
            self.held.index_copy_(0, slots, positions)
            age = positions[:, None] - self.held[None]
            mask = torch.where((age >= 0) & (age < 8), 0.0, float("-inf"))
            return ((x @ self.keys.t()) * 0.3 + mask).softmax(-1) @ self.keys
    return Window()
