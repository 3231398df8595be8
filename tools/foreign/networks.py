"""Plain networks: linear layers in every quantisation, norms, embeddings."""
import torch
from torch import nn

from foreign.registry import VOCABULARY, batch, floats, ids, program


def mlp(activation=nn.ReLU, bias=True):
    return nn.Sequential(nn.Linear(12, 20, bias=bias), activation(), nn.Linear(20, 7, bias=bias))


@program(lambda: [floats((3, 12))])
def mlp_static():
    return mlp()


@program(lambda: [floats((n, 12), seed=n) for n in (5, 1, 16)], dynamic=lambda: ({0: batch(1, 16)},))
def mlp_dynamic():
    return nn.Sequential(mlp(nn.GELU), nn.Tanh(), nn.Linear(7, 7, bias=False), nn.SiLU(), nn.Softmax(-1))


@program(lambda: [floats((4, 12))], lowering="portable")
def mlp_portable():
    return nn.Sequential(mlp(lambda: nn.GELU(approximate="tanh")), nn.LogSoftmax(-1))


@program(lambda: [floats((n, 32), seed=n) for n in (6, 1)], lowering="8da8w", dynamic=lambda: ({0: batch(1, 8)},))
def mlp_8da8w():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32, bias=False), nn.Sigmoid())


def three_linears(bias=True):
    return nn.Sequential(nn.Linear(64, 96, bias=bias), nn.ReLU(), nn.Linear(96, 64, bias=False), nn.Sigmoid(),
                         nn.Linear(64, 5, bias=bias))


@program(lambda: [floats((n, 64), seed=n) for n in (6, 1)], lowering="8da4w", dynamic=lambda: ({0: batch(1, 8)},))
def mlp_8da4w():
    """4-bit weights in groups of 32, as large language models are exported."""
    return three_linears()


@program(lambda: [floats((n, 64), seed=n) for n in (6, 1)], lowering="8da4c", dynamic=lambda: ({0: batch(1, 8)},))
def mlp_8da4c():
    """4-bit weights with a scale for each output channel."""
    return three_linears()


@program(lambda: [floats((n, 64), seed=n) for n in (6, 1)], lowering="w8", dynamic=lambda: ({0: batch(1, 8)},))
def mlp_w8():
    """int8 weights, float activations."""
    return three_linears(bias=False)


@program(lambda: [floats((2, 3, 12))])
def layer_norm():
    return nn.Sequential(nn.LayerNorm(12), mlp(nn.Hardtanh), nn.LayerNorm(7, elementwise_affine=False))


@program(lambda: [floats((n, 12), seed=n) for n in (2, 9)], lowering="portable", dynamic=lambda: ({0: batch(1, 9)},))
def layer_norm_portable():
    return nn.Sequential(nn.LayerNorm(12), mlp(nn.LeakyReLU), nn.LayerNorm(7), nn.ELU())


@program(lambda: [(ids(2, 5), *floats((2, 5, 6)))])
def embedding_bag():
    """Token ids of two sequences, mean over those that are not padding (id 0)."""
    table = nn.Embedding(VOCABULARY, 6)

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = table

        def forward(self, tokens, extra):
            keep = (tokens != 0).to(torch.float32).unsqueeze(-1)
            x = self.table(tokens) * keep + extra
            return x.sum(1) / keep.sum(1).clamp(min=1.0), x.amax(1), x.argmax(-1)
    return Bag()
