"""Exports the programs of tests/data/foreign with ExecuTorch's own exporter (executorch 1.4.1, torch 2.13, torchao).

usage: python tools/make_foreign_programs.py FOLDER [NAME ...]

Each NAME.pte is a small network as a PyTorch user writes it; NAME.io holds the inputs of one or more calls and what the
network answers in PyTorch. A program with state is called several times; state begins as the file says.

NAME.io: "DLXIO1\\0\\0", number of calls; a call is its number of inputs and of outputs and then those tensors; a tensor is
its ScalarType, rank, sizes (all of these are little-endian int64) and its elements, padded to eight bytes.
"""
import copy
import json
import logging
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings

import torch
import torch.nn.functional as F
from torch import nn

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

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


# ---- plain networks --------------------------------------------------------------------------------------------------

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


# ---- operators of every kind, without a delegate ---------------------------------------------------------------------

@program(lambda: [floats((3, 4), (3, 4), (4,)), floats((3, 4), (3, 4), (4,), seed=2)], lowering="portable")
def arithmetic():
    def f(a, b, c):
        x = (a + b * 2.0 - c) / (b.abs() + 1.5)
        y = torch.maximum(a, b) - torch.minimum(a, c) + torch.add(a, b, alpha=0.5) - torch.sub(b, c, alpha=2)
        z = a.clamp(-0.5, 0.75).pow(3) + b.pow(2).sqrt() + 1.0 / (a.square() + 1) + (3.0 - a) + torch.rsqrt(b * b + 1)
        w = torch.exp(-a.abs()) + torch.log(b.abs() + 1) + torch.sin(a) * torch.cos(b) + torch.erf(c)
        v = torch.floor(a * 3) + torch.ceil(b * 3) + torch.round(a * 5) + torch.sign(b) + torch.trunc(b * 4)
        return x, y, z, w, v, a.reciprocal(), torch.fmod(a, 0.7), torch.remainder(b, 0.7), torch.pow(b.abs(), a)
    return Function(f)


@program(lambda: [(ids(3, 4, high=9) - 4, ids(4, seed=2, high=5) + 1, *floats((3, 4)))], lowering="portable")
def integers():
    def f(a, b, x):
        less, equal = a < b, a == 2
        both = (less & ~equal) | (a > 3) ^ (b >= 4)
        return (a + b * 2 - 1, a // b, a % b, both, (a * b).to(torch.float32) + x, less.to(torch.int64).sum(-1),
                torch.where(both, x, x.new_tensor(-2.0)), a.neg().abs().clamp(0, 3), x.to(torch.int32), (x > 0).any(-1),
                (a != b).all(), a.cumsum(1), torch.logical_and(less, a), torch.logical_not(a), a.max(), a.amin(0),
                a.to(torch.uint8), x.to(torch.bool), torch.bitwise_and(a, b), a.bool().to(torch.int32))
    return Function(f)


@program(lambda: [floats((2, 3, 4))], lowering="portable")
def shapes():
    def f(x):
        a, b = x.split([1, 3], dim=2)
        parts = torch.unbind(x, 1)
        y = torch.cat([x, x.flip(2), x[:, 1:, :], x[:, :2]], 1)
        s = torch.stack([parts[0], parts[2], parts[1]], 1)
        return (a.squeeze(-1), b.transpose(0, 2), y, s, x.unsqueeze(1).expand(2, 5, 3, 4), x[:, ::2, 1::2],
                x.permute(2, 0, 1).reshape(4, -1), x.repeat(1, 2, 1), x.repeat_interleave(2, 1), x.select(1, -1),
                torch.cat([x[..., :1]] * 7, -1), x.flatten(1).unflatten(1, (2, 6)), x.roll(1, 2), x.tril(),
                F.pad(x, (1, 2, 0, 1), value=0.5), x.chunk(2, -1)[1], x.narrow(2, 1, 2), x.new_zeros(2, 2) + 1)
    return Function(f)


@program(lambda: [(*floats((4, 6)), ids(3, high=4), ids(4, 2, high=6, seed=3))], lowering="portable")
def gathers():
    def f(x, rows, columns):
        y = x.clone()
        y[rows] = x.new_ones(3, 6)
        z = x.masked_fill(x > 0.3, float("-inf"))
        return (x[rows], x[:, rows], x.gather(1, columns), x.index_select(0, rows), y, z,
                x[rows, rows], x.scatter(1, columns, 2.5), torch.topk(x, 3)[0], x.index_put((rows,), x[:3], True),
                x.scatter(1, columns, x), torch.topk(x, 2)[1], x.argmin(0), x.max(1)[0], x.min(0)[1])
    return Function(f)


@program(lambda: [floats((3, 5), seed=s) for s in (1, 2)], lowering="portable")
def reductions():
    def f(x):
        return (x.mean(), x.mean(0), x.mean((0, 1), keepdim=True), x.sum(-1), x.sum((0, 1)), x.var(1), x.var(0, correction=0),
                x.amax((0, 1)), x.amin(1, keepdim=True), x.argmax(), x.argmax(1, keepdim=True), x.softmax(0), x.prod(1),
                x.log_softmax(0), x.std(1), x.norm(dim=1), x.cumsum(0))
    return Function(f)


@program(lambda: [floats((n, 6), seed=n) for n in (2, 7)], lowering="portable",
         dynamic=lambda: ({0: batch(2, 8)},))
def computed_sizes():
    """Sizes that follow the input through arithmetic: masks, ranges, filled tensors, views."""
    def f(x):
        n = x.shape[0]
        positions = torch.arange(n)
        mask = torch.full((n, n), float("-inf")).triu(1)
        later = torch.arange(2 * n + 1, 3 * n + 1, dtype=torch.float32)
        ones = torch.ones(n, 2) * (n - 1)
        wide = x.view(n * 2, 3).sum(1) + torch.zeros(2 * n)
        return positions[:, None] <= positions[None], (x @ x.t() + mask).softmax(-1), later, ones, wide, x.expand(3, n, 6)
    return Function(f)


@program(lambda: [(torch.tensor([2]), *floats((3, 6))), (torch.tensor([5]), *floats((3, 6), seed=2))], lowering="portable")
def computed_positions():
    """A position read out of a tensor: narrow, arithmetic, comparison."""
    table = torch.arange(60, dtype=torch.float32).view(10, 6)

    def f(position, x, table):
        p = position.item()
        torch._check(p >= 0)
        torch._check(p <= 7)
        return table.narrow(0, p, 3) + x, torch.arange(3) + p, x * p, torch.full((2,), 1.0) * (p - 2)
    return Function(f, table=table)


@program(lambda: [floats((2, 3, 5), (2, 5, 4), (5, 4), (4,))], lowering="portable")
def matrices():
    def f(a, b, c, d):
        return (torch.bmm(a, b), a @ c, torch.addmm(d, a[0], c), torch.addmm(d, a[0], c, beta=0.5, alpha=2), a[0] @ b[0],
                torch.matmul(a[0], c[:, 0]), F.linear(a, c.t(), d), torch.einsum("bij,bjk->bik", a, b))
    return Function(f)


@program(lambda: [floats((2, 3, 5), (2, 5, 4), (5, 4), (4,))])
def matrices_xnnpack():
    weight, bias = floats((5, 4), (4,), seed=9)

    def f(a, b, c, d, weight, bias):
        return (torch.bmm(a, b), a @ weight, torch.addmm(bias, a[0], weight), a[0] @ c, torch.addmm(d, a[0], c),
                F.linear(a, weight.t(), bias), F.linear(a, weight.t(), d))
    return Function(f, weight=weight, bias=bias)


@program(lambda: [floats((2, 3, 6), (2, 3, 6))])
def arithmetic_xnnpack():
    def f(a, b):
        x = torch.maximum(a, b) * torch.sigmoid(b) - torch.minimum(a, b) / (b.abs() + 2)
        y = F.relu(a) + F.hardtanh(b, -0.5, 0.5) + torch.tanh(a) + F.gelu(b) + torch.exp(-a) + F.leaky_relu(b, 0.1)
        z = torch.rsqrt(a * a + 1) + torch.sqrt(b.abs()) + (-a).floor() + b.ceil() + a.square() + torch.log(a.abs() + 1)
        w = torch.cat([x, y, z], -1).permute(0, 2, 1).reshape(2, -1, 6)[:, 1:5]
        return w.softmax(-1), F.elu(a) + F.hardswish(b), torch.sin(a) + torch.cos(b), a.clamp(max=0.2) + b.clamp(min=0.1)
    return Function(f)


# ---- attention and rotary embeddings ---------------------------------------------------------------------------------

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


# ---- decoders --------------------------------------------------------------------------------------------------------

class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.weight


class Cache(nn.Module):
    """Keys or values [1, S, K, D] that a call extends."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.zeros(1, CONTEXT, KV, DIM))

    def forward(self, positions, fresh):
        self.rows[:, positions] = fresh
        return self.rows


class Layer(nn.Module):
    def __init__(self, stateful, bias=False, head_norm=False):
        super().__init__()
        self.q, self.o = nn.Linear(WIDTH, HEADS * DIM, bias=bias), nn.Linear(HEADS * DIM, WIDTH, bias=False)
        self.k, self.v = nn.Linear(WIDTH, KV * DIM, bias=bias), nn.Linear(WIDTH, KV * DIM, bias=bias)
        self.gate, self.up, self.down = (nn.Linear(a, b, bias=False) for a, b in ((WIDTH, 24), (WIDTH, 24), (24, WIDTH)))
        self.norm1, self.norm2 = RMSNorm(WIDTH), RMSNorm(WIDTH)
        self.q_norm, self.k_norm = (RMSNorm(DIM), RMSNorm(DIM)) if head_norm else (nn.Identity(), nn.Identity())
        if stateful:
            self.k_cache, self.v_cache = Cache(), Cache()
        self.stateful = stateful

    def forward(self, x, positions, cos, sin, mask):
        h = self.norm1(x)
        q = self.q_norm(self.q(h).view(1, -1, HEADS, DIM))
        k = self.k_norm(self.k(h).view(1, -1, KV, DIM))
        v = self.v(h).view(1, -1, KV, DIM)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        if self.stateful:
            k, v = self.k_cache(positions, k), self.v_cache(positions, v)
        k, v = k.transpose(1, 2).repeat_interleave(2, 1), v.transpose(1, 2).repeat_interleave(2, 1)
        a = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).reshape(1, -1, HEADS * DIM))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Qwen-like. Stateful: caches in buffers, causal by a mask buffer; otherwise a causal pass over the whole text."""

    def __init__(self, stateful=True, layers=2, last_only=False, **layer):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer(stateful, **layer) for _ in range(layers))
        self.norm, self.head = RMSNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        cos, sin = tables()
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1))
        self.stateful, self.last_only = stateful, last_only

    def forward(self, tokens, positions):
        x = self.embed(tokens)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        mask = self.mask[positions] if self.stateful else self.mask[positions][:, :tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, positions, cos, sin, mask)
        x = self.norm(x)
        return self.head(x[:, -1] if self.last_only else x)


def text_calls(*lengths, context=CONTEXT):
    """Calls that continue a text: tokens [1, T] and their positions."""
    out, start = [], 0
    for n in lengths:
        out.append((ids(1, n, seed=start + 1), torch.arange(start, start + n)))
        start += n
    return out


TEXT = {"dynamic": lambda: ({1: batch(1, 8, "rows")}, {0: batch(1, 8, "rows")})}


@program(lambda: [(ids(1, 8), torch.arange(8))])
def decoder_stateless():
    return Decoder(stateful=False)


@program(lambda: text_calls(6, 6, 6))
def decoder_cache_static():
    return Decoder(bias=True)


@program(lambda: text_calls(5, 1, 1, 3, 8), **TEXT)
def decoder_cache_dynamic():
    return Decoder(head_norm=True)


@program(lambda: text_calls(3, 3), lowering="portable")
def decoder_cache_portable():
    return Decoder(layers=1, last_only=True)


@program(lambda: text_calls(5, 1, 2), lowering="8da8w", **TEXT)
def decoder_cache_8da8w():
    return Decoder(layers=1)


class HeadsFirst(nn.Module):
    """Caches [1, K, S, D], which a slice is copied into or positions are put into; causal by a mask of bools."""

    def __init__(self, copied):
        super().__init__()
        self.layer = Layer(False)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        cos, sin = tables()
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("mask", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril())
        self.register_buffer("keys", torch.zeros(1, KV, CONTEXT, DIM))
        self.register_buffer("values", torch.zeros(1, KV, CONTEXT, DIM))
        self.copied = copied

    def store(self, cache, positions, fresh):
        if not self.copied:
            cache[:, :, positions] = fresh
            return
        start, rows = positions[0].item(), positions.shape[0]
        torch._check_is_size(start)
        torch._check(start + rows <= CONTEXT)
        cache.narrow(2, start, rows).copy_(fresh)

    def forward(self, tokens, positions):
        one = self.layer
        x = self.embed(tokens)
        cos, sin = self.cos[positions][None, None], self.sin[positions][None, None]
        h = one.norm1(x)
        q, k, v = (p(h).view(1, -1, n, DIM).transpose(1, 2) for p, n in ((one.q, HEADS), (one.k, KV), (one.v, KV)))
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        self.store(self.keys, positions, k)
        self.store(self.values, positions, v)
        a = F.scaled_dot_product_attention(q, self.keys.repeat_interleave(2, 1), self.values.repeat_interleave(2, 1),
                                           attn_mask=self.mask[positions][None, None])
        x = x + one.o(a.transpose(1, 2).reshape(1, -1, HEADS * DIM))
        h = one.norm2(x)
        return F.linear(x + one.down(F.silu(one.gate(h)) * one.up(h)), self.embed.weight)


@program(lambda: text_calls(5, 5, 5))
def decoder_cache_fixed_rows():
    return HeadsFirst(copied=False)


# As many rows as there are heads, as heads of keys, and as a head has elements: sizes do not tell which is which.
@program(lambda: text_calls(HEADS, HEADS, HEADS))
def decoder_cache_rows_as_heads():
    return HeadsFirst(copied=False)


@program(lambda: text_calls(KV, KV, KV))
def decoder_cache_rows_as_kv_heads():
    return HeadsFirst(copied=False)


@program(lambda: text_calls(DIM, DIM, DIM))
def decoder_cache_rows_as_elements():
    return HeadsFirst(copied=False)


@program(lambda: text_calls(4, 1, 8, 2), **TEXT)
def decoder_cache_copied():
    return HeadsFirst(copied=True)


class Explicit(nn.Module):
    """Layout A: caches come in and new rows go out, batch dimension and all."""

    def __init__(self, key_sign=1):
        super().__init__()
        self.key_sign = key_sign  # of cached keys: -1 is what no fused attention may take
        self.layer = Layer(False)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        cos, sin = tables()
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, tokens, positions, kc, vc):
        x = self.embed(tokens)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        one = self.layer
        h = one.norm1(x)
        q, k, v = (p(h).view(-1, n, DIM) for p, n in ((one.q, HEADS), (one.k, KV), (one.v, KV)))
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        keys, values = torch.cat([kc if self.key_sign > 0 else -kc, k]), torch.cat([vc, v])
        a = F.scaled_dot_product_attention(
            q.transpose(0, 1)[None], keys.transpose(0, 1)[None].repeat_interleave(2, 1),
            values.transpose(0, 1)[None].repeat_interleave(2, 1))
        x = x + one.o(a[0].transpose(0, 1).reshape(-1, HEADS * DIM))
        h = one.norm2(x)
        x = x + one.down(F.silu(one.gate(h)) * one.up(h))
        return F.linear(x, self.embed.weight), k, v


EXPLICIT = {"calls": lambda: [(ids(n, seed=n), torch.arange(p, p + n), *floats((p, KV, DIM), (p, KV, DIM), seed=p))
                              for n, p in ((4, 5), (2, 9))],
            "dynamic": lambda: ({0: batch(2, 8, "rows")}, {0: batch(2, 8, "rows")}, {0: batch(2, 16, "cached")},
                                {0: batch(2, 16, "cached")})}


@program(**EXPLICIT)
def decoder_explicit_sdpa():
    return Explicit()


@program(**EXPLICIT)
def decoder_explicit_negated():
    return Explicit(key_sign=-1)


@program(lambda: [(ids(3), torch.arange(5, 8), *floats((5, KV, DIM), (5, KV, DIM)))])
def decoder_explicit_fixed():
    """No number of rows or cached rows but one: no session can run it."""
    return Explicit()


SLOTS = 12


class SixInputs(nn.Module):
    """The contract of the Python system that this one succeeds: ids and positions [1,B], the whole cache [L,2,1,K,M,D], an
    added mask [L,1,1,B,M+B], which row goes into which slot [L,1,1,M,B], which slots stay [L,1,1,M,1]."""

    def __init__(self, layers=2, kv=KV, bias=False, head_norm=False):
        super().__init__()
        self.kv = kv
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer(False, bias, head_norm) for _ in range(layers))
        for layer in self.layers:
            layer.k, layer.v = (nn.Linear(WIDTH, kv * DIM, bias=bias) for _ in range(2))
        self.norm, self.head = RMSNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        cos, sin = tables()
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def attend(self, layer, h, positions, old, mask, insert, keep):
        """-> rows, the layer's keys and values [2,1,K,M,D] as they are now"""
        q, k, v = (p(h).view(1, -1, n, DIM) for p, n in ((layer.q, HEADS), (layer.k, self.kv), (layer.v, self.kv)))
        q, k, v = layer.q_norm(q).transpose(1, 2), layer.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        keys, values = (torch.cat([c, x], 2).repeat_interleave(HEADS // self.kv, 1) for c, x in ((old[0], k), (old[1], v)))
        a = torch.softmax(torch.matmul(q, keys.transpose(-1, -2)) * DIM ** -0.5 + mask, -1) @ values
        insert, keep = insert.expand(-1, self.kv, -1, -1), keep.expand(-1, self.kv, -1, DIM)
        new = [c * keep + torch.matmul(insert, x) for c, x in ((old[0], k), (old[1], v))]
        return layer.o(a.transpose(1, 2).reshape(1, -1, HEADS * DIM)), new

    def forward(self, input_ids, positions, kv_cache, attention_mask, insert_matrix, keep_mask):
        x, updated = self.embed(input_ids), torch.zeros_like(kv_cache)
        for i, layer in enumerate(self.layers):
            a, new = self.attend(layer, layer.norm1(x), positions, kv_cache[i], attention_mask[i], insert_matrix[i],
                                 keep_mask[i])
            updated[i, 0], updated[i, 1] = new
            x = x + a
            h = layer.norm2(x)
            x = x + layer.down(F.silu(layer.gate(h)) * layer.up(h))
        return self.head(self.norm(x)), updated


def six_inputs_calls(layers, kv, rows):
    """A block behind three slots that is stored, and one behind that block that is not."""
    out = []
    for start, stored in ((3, rows), (3 + rows, 0)):
        mask = torch.full((layers, 1, 1, rows, SLOTS + rows), -10000.0)
        mask[..., :start] = mask[..., SLOTS:] = 0
        insert, keep = torch.zeros(layers, 1, 1, SLOTS, rows), torch.ones(layers, 1, 1, SLOTS, 1)
        for i in range(stored):
            insert[..., start + i, i], keep[..., start + i, :] = 1, 0
        out.append((ids(1, rows, seed=start), torch.arange(start, start + rows)[None],
                    *floats((layers, 2, 1, kv, SLOTS, DIM), seed=start), mask, insert, keep))
    return out


@program(lambda: six_inputs_calls(2, KV, 4))
def six_inputs():
    return SixInputs(head_norm=True)


@program(lambda: six_inputs_calls(1, 1, 3))
def six_inputs_single_head():
    return SixInputs(layers=1, kv=1, bias=True)


@program(lambda: six_inputs_calls(2, HEADS, 2), lowering="portable")
def six_inputs_portable():
    return SixInputs(kv=HEADS)


def llama(layers=2, custom=False, **settings):
    """The decoder that ExecuTorch ships for its own exports."""
    from executorch.examples.models.llama.llama_transformer import construct_transformer
    from executorch.examples.models.llama.model_args import ModelArgs
    args = ModelArgs(dim=WIDTH, n_layers=layers, n_heads=HEADS, n_kv_heads=KV, vocab_size=VOCABULARY, hidden_dim=24,
                     max_seq_len=CONTEXT, max_context_len=CONTEXT, **settings)
    model = construct_transformer(args)
    if custom:
        from executorch.examples.models.llama.source_transformation.custom_kv_cache import (
            replace_kv_cache_with_custom_kv_cache)
        from executorch.examples.models.llama.source_transformation.sdpa import replace_sdpa_with_custom_op
        model = replace_kv_cache_with_custom_kv_cache(replace_sdpa_with_custom_op(model))
    return model


def llama_calls(*lengths, pos=1):
    """Tokens [1, T] and where they start."""
    out, start = [], 0
    for n in lengths:
        out.append((ids(1, n, seed=start + 1), {"input_pos": torch.arange(start, start + (n if pos == "all" else pos))}))
        start += n
    return out


LLAMA = {"dynamic": lambda: ({1: batch(1, 8, "rows")}, {"input_pos": {0: 1}}), "llm": True}


@program(lambda: [(ids(1, 8),)], llm=True)
def llama_stateless():
    return llama(generate_full_logits=True)


@program(lambda: llama_calls(5, 1, 1, 4), **LLAMA)
def llama_cache():
    return llama(use_kv_cache=True, enable_dynamic_shape=True)


@program(lambda: llama_calls(1, 1, 1), llm=True)
def llama_cache_static():
    return llama(use_kv_cache=True, enable_dynamic_shape=False)


@program(lambda: llama_calls(5, 1, 1, 4), **LLAMA)
def llama_custom_sdpa():
    return llama(use_kv_cache=True, enable_dynamic_shape=True, custom=True, generate_full_logits=True)


@program(lambda: llama_calls(3, 1, 4), **LLAMA)
def llama_qwen3():
    return llama(use_kv_cache=True, enable_dynamic_shape=True, custom=True, use_hf_rope=True, use_qk_norm=True,
                 qk_norm_before_rope=True, attention_qkv_bias=True)


@program(lambda: llama_calls(3, 1, 4), lowering="8da8w", **LLAMA)
def llama_8da8w():
    return llama(use_kv_cache=True, enable_dynamic_shape=True, custom=True, layers=1)


@program(lambda: llama_calls(4, 4, 4, 4, 4), llm=True)
def llama_ring():
    """Keys in a ring buffer of twice the window, each with its position."""
    from executorch.examples.models.llama.source_transformation.custom_kv_cache import (
        replace_kv_cache_with_ring_kv_cache)
    model = llama(use_kv_cache=True, enable_dynamic_shape=True, custom=True, layers=1)
    return replace_kv_cache_with_ring_kv_cache(model, [8])


@program(lambda: [(ids(1, 5),)], lowering="portable", llm=True)
def embedding_int8():
    from executorch.examples.models.llama.source_transformation.quantize import EmbeddingQuantHandler
    from executorch.kernels import quantized  # noqa: F401
    return EmbeddingQuantHandler(nn.Sequential(nn.Embedding(VOCABULARY, 32)), bitwidth=8, group_size=None).quantized_model()


@program(lambda: llama_calls(3, 1, 4), lowering="portable", **LLAMA)
def llama_portable():
    return llama(use_kv_cache=True, enable_dynamic_shape=True, layers=1, generate_full_logits=True)


# The files that `python -m executorch.examples.models.llama.export_llama` writes: -X -kv and more arguments.

@program(lambda: llama_calls(5, 1, 1, 4), official=())
def official_kv():
    return llama(use_kv_cache=True, enable_dynamic_shape=True)


@program(lambda: llama_calls(1, 1, 1), official=("--disable_dynamic_shape",))
def official_kv_static():
    return llama(use_kv_cache=True, layers=1)


@program(lambda: llama_calls(5, 1, 1, 4), official=(
    "--use_sdpa_with_kv_cache", "--metadata", '{"get_bos_id": 1, "get_eos_ids": [2, 3]}'))
def official_kv_sdpa():
    return llama(use_kv_cache=True, enable_dynamic_shape=True)


@program(lambda: llama_calls(1, 1, 1), official=(
    "--use_sdpa_with_kv_cache", "--disable_dynamic_shape", "--xnnpack-extended-ops", "--generate_full_logits"))
def official_kv_sdpa_static():
    return llama(use_kv_cache=True, layers=1, generate_full_logits=True)


# ---- other kinds of state --------------------------------------------------------------------------------------------

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


# ---- what the runtime refuses, or runs only as methods: files without recorded answers ---------------------------------

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


@program(lambda: [floats((3, 12))], folder="others", lowering="static")
def mlp_static_int8():
    return mlp()


@program(lambda: [floats((3, 12))], folder="others", methods=("encode", "decode"))
def two_methods():
    """Neither is called forward; and constants of each kind."""
    return {"encode": nn.Linear(12, 7), "decode": nn.Sequential(nn.Linear(12, 20), nn.LayerNorm(20))}


# ---- exporting -------------------------------------------------------------------------------------------------------

def partitioners(lowering):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
    if lowering == "portable":
        return []
    if lowering in DYNAMIC:
        return [XnnpackDynamicallyQuantizedPartitioner(), XnnpackPartitioner()]
    return [XnnpackPartitioner()]


def quantised(module, calls):
    """Statically, by PyTorch's own flow."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
    prepared = prepare_pt2e(torch.export.export(module, calls[0]).module(), quantizer)
    prepared(*calls[0])
    return convert_pt2e(prepared)


DYNAMIC = ("8da8w", "8da4w", "8da4c")  # activations


def with_integer_weights(module, lowering):
    if lowering == "w8":
        from executorch.examples.models.llama.source_transformation.quantize import WeightOnlyInt8QuantHandler
        return WeightOnlyInt8QuantHandler(module).quantized_model()
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.utils import unwrap_tensor_subclass
    weights = torch.int8 if lowering == "8da8w" else torch.int4
    granularity = PerGroup(32) if lowering == "8da4w" else PerAxis(0)
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=weights, weight_granularity=granularity))
    return unwrap_tensor_subclass(module) or module


def lower_methods(spec):
    from executorch.exir import to_edge_transform_and_lower
    torch.manual_seed(3)
    call = spec["calls"]()[0]
    exported = {name: torch.export.export(module.eval(), call) for name, module in spec["make"]().items()}
    edge = to_edge_transform_and_lower(
        exported, partitioner={name: partitioners("xnnpack") for name in exported},
        constant_methods={"get_size": 3, "get_scale": 0.5, "get_flag": True, "get_name": "two", "get_ids": [4, 5]})
    return edge.to_executorch()


def lower(name, spec):
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
    torch.manual_seed(3)
    module = spec["make"]().eval()
    for p in module.parameters():
        p.requires_grad_(False)
        if p.dim() > 1:
            p.normal_(0, 0.4)
    if spec["lowering"] in (*DYNAMIC, "w8"):
        module = with_integer_weights(module, spec["lowering"])
    calls = spec["calls"]()
    if "dtype" in spec:
        module = module.to(spec["dtype"])
        calls = [tuple(t.to(spec["dtype"]) for t in call) for call in calls]
    if spec["lowering"] == "static":
        module = quantised(module, calls)
    dynamic = spec["dynamic"]() if spec["dynamic"] else None
    if dynamic and isinstance(module, Function):
        dynamic = (dynamic,)  # of *args
    fresh = copy.deepcopy(module)
    with torch.no_grad(), torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        exported = torch.export.export(module, calls[0] if len(calls[0]) else calls, dynamic_shapes=dynamic, strict=False)
        answers = [fresh(*copy.deepcopy(c)) for c in calls]
    edge = to_edge_transform_and_lower(exported, partitioner=partitioners(spec["lowering"]),
                                       compile_config=EdgeCompileConfig(_check_ir_validity=False))
    passes = []
    if spec.get("initialised"):
        passes.append(InitializedMutableBufferPass(list(spec["initialised"])))
    if spec.get("llm"):
        config = ExecutorchBackendConfig(
            extract_delegate_segments=True, do_quant_fusion_and_const_prop=True, passes=passes,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass())
    else:
        config = ExecutorchBackendConfig(extract_delegate_segments=True, passes=passes)
    return edge.to_executorch(config), calls, answers


def export_llama(spec, path):
    """The official program writes the file; the module answers."""
    torch.manual_seed(3)
    module = spec["make"]().eval()
    for p in module.parameters():
        p.requires_grad_(False)
        if p.dim() > 1:
            p.normal_(0, 0.4)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch.save(module.state_dict(), folder / "weights.pth")
        (folder / "params.json").write_text(json.dumps(dict(
            dim=WIDTH, n_layers=len(module.layers), n_heads=HEADS, n_kv_heads=KV, vocab_size=VOCABULARY, hidden_dim=24)))
        subprocess.run([sys.executable, "-m", "executorch.examples.models.llama.export_llama", "-X", "-kv", *spec["official"],
                        "-c", folder / "weights.pth", "-p", folder / "params.json", "-d", "fp32", "-o", folder,
                        "--max_seq_length", str(CONTEXT), "--max_context_length", str(CONTEXT), "-n", "program"],
                       check=True, cwd=folder)
        shutil.copyfile(folder / "program.pte", path)
    calls = spec["calls"]()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        return calls, [module(*copy.deepcopy(c)) for c in calls]


def flat(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [t for part in (tree.values() if isinstance(tree, dict) else tree) for t in flat(part)]


def write_io(path, calls, answers):
    with open(path, "wb") as out:
        out.write(b"DLXIO1\0\0" + struct.pack("<q", len(calls)))
        for call, answer in zip(calls, answers):
            inputs, outputs = flat(call), flat(answer)
            out.write(struct.pack("<2q", len(inputs), len(outputs)))
            for t in inputs + outputs:
                data = t.detach().contiguous().numpy().tobytes()
                out.write(struct.pack(f"<{2 + t.dim()}q", SCALAR_TYPES[t.dtype], t.dim(), *t.shape))
                out.write(data + b"\0" * (-len(data) % 8))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or PROGRAMS:
        spec = PROGRAMS[name]
        path = folder / spec.get("folder", "") / f"{name}.pte"
        path.parent.mkdir(exist_ok=True)
        calls = answers = ()
        if "official" in spec:
            calls, answers = export_llama(spec, path)
        else:
            finished, calls, answers = (lower_methods(spec), (), ()) if "methods" in spec else lower(name, spec)
            with open(path, "wb") as file:
                finished.write_to_file(file)
        if "folder" not in spec:
            write_io(path.with_suffix(".io"), calls, answers)
        print(f"{name}: {path.stat().st_size} bytes, {len(calls)} calls")


if __name__ == "__main__":
    main()
