"""Decoders: without a cache, with one in every form that PyTorch users have, the official ones."""
import torch
import torch.nn.functional as F
from torch import nn

from foreign.attention import rotate_half, tables
from foreign.registry import CONTEXT, DIM, HEADS, KV, VOCABULARY, WIDTH, batch, floats, ids, program


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


class Stored(nn.Module):
    """A linear layer, or a table, whose numbers are stored as float16 or as int8 rows with scales, and widened in every
    call."""

    def __init__(self, of, dtype):
        super().__init__()
        weight, self.table = of.weight.detach(), isinstance(of, nn.Embedding)
        scale = None
        if dtype is torch.int8:
            scale = weight.abs().amax(1) / 127
            weight = (weight / scale[:, None]).round()
        self.register_buffer("scale", scale)
        self.register_buffer("weight", weight.to(dtype))
        self.register_buffer("bias", None if getattr(of, "bias", None) is None else of.bias.detach())

    def forward(self, x):
        w = self.weight.float()
        if self.scale is not None:
            w = w * self.scale.view(-1, 1)
        return F.embedding(x, w) if self.table else F.linear(x, w, self.bias)


def stored(module, dtype):
    for name, child in module.named_children():
        if isinstance(child, (nn.Linear, nn.Embedding)):
            setattr(module, name, Stored(child, dtype))
        else:
            stored(child, dtype)
    return module


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


@program(lambda: six_inputs_calls(1, KV, 4))
def six_inputs_float16():
    return stored(SixInputs(layers=1, bias=True), torch.float16)


@program(lambda: six_inputs_calls(1, KV, 4))
def six_inputs_int8():
    return stored(SixInputs(layers=1, bias=True), torch.int8)


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
