"""Attention and rotary embeddings by themselves."""
import torch
import torch.nn.functional as F
from torch import nn

from foreign.registry import CONTEXT, DIM, Function, HEADS, KV, WIDTH, batch, floats, program


def tables(dim=DIM, length=CONTEXT, halves=True):
    angle = torch.arange(length)[:, None] * (1e4 ** (-torch.arange(0, dim, 2) / dim))[None, :]
    angle = torch.cat([angle, angle], -1) if halves else angle
    return angle.cos(), angle.sin()


def rotate_half(x):
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def interleaved(x, cos, sin):
    """Pairs of neighbours, tables of half the width: the form of Llama's reference code."""
    a, b = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


@program(lambda: [floats((1, HEADS, 6, DIM), (1, HEADS, 6, DIM), (1, HEADS, 6, DIM))])
def sdpa():
    return Function(lambda q, k, v: F.scaled_dot_product_attention(q, k, v))


@program(lambda: [floats((2, HEADS, 5, DIM), (2, HEADS, 7, DIM), (2, HEADS, 7, DIM), (5, 7))])
def sdpa_mask():
    return Function(lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=0.3))


@program(lambda: [floats((1, HEADS, n, DIM), (1, KV, n, DIM), (1, KV, n, DIM), seed=n) for n in (3, 6)],
         dynamic=lambda: ({2: batch(2, 8, "rows")},) * 3)
def sdpa_causal_gqa():
    return Function(lambda q, k, v: F.scaled_dot_product_attention(
        q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), is_causal=True))


class Attention(nn.Module):
    """Written out, causal by a mask that is filled in."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, HEADS * DIM) for _ in range(3))

    def forward(self, x):
        q, k, v = (p(x).view(1, -1, HEADS, DIM).transpose(1, 2) for p in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / DIM ** 0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return (scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v).transpose(1, 2).flatten(2)


@program(lambda: [floats((1, 6, WIDTH))])
def sdpa_masked_fill():
    return Attention()


@program(lambda: [floats((1, n, WIDTH), seed=n) for n in (3, 1, 8)], dynamic=lambda: ({1: batch(1, 8, "rows")},))
def sdpa_dynamic():
    class Causal(Attention):
        def forward(self, x):
            q, k, v = (p(x).view(1, -1, HEADS, DIM).transpose(1, 2) for p in (self.q, self.k, self.v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    return Causal()


@program(lambda: [floats((1, 5, WIDTH))], lowering="portable")
def attention_portable():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

        def forward(self, x):
            return self.heads(x, x, x, need_weights=False)[0]
    return Attention()


@program(lambda: [(*floats((n, HEADS, DIM), seed=n), torch.arange(n) + n) for n in (2, 5)],
         dynamic=lambda: ({0: batch(1, 8, "rows")},) * 2)
def rope_half():
    cos, sin = tables()

    def f(x, positions, cos, sin):
        c, s = cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)
        return x * c + rotate_half(x) * s
    return Function(f, cos=cos, sin=sin)


@program(lambda: [(*floats((n, HEADS, DIM), seed=n), torch.arange(n) + n) for n in (2, 5)],
         dynamic=lambda: ({0: batch(1, 8, "rows")},) * 2)
def rope_interleaved():
    cos, sin = tables(halves=False)

    def f(x, positions, cos, sin):
        return interleaved(x, cos[positions].unsqueeze(1), sin[positions].unsqueeze(1))
    return Function(f, cos=cos, sin=sin)


@program(lambda: [(*floats((1, HEADS, n, DIM), seed=n), torch.arange(n) + n) for n in (2, 5)],
         dynamic=lambda: ({2: batch(1, 8, "rows")}, {0: batch(1, 8, "rows")}))
def rope_behind_heads():
    cos, sin = tables()

    def f(x, positions, cos, sin):
        c, s = cos[positions][None, None], sin[positions][None, None]
        return x * c + rotate_half(x) * s
    return Function(f, cos=cos, sin=sin)
