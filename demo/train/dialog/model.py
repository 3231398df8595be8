"""SDAR-layout transformer: block-causal attention, Q/K norm, grouped heads, RMSNorm, half-rotation RoPE, SwiGLU, no biases.

Parameter names are those of the published checkpoints (model.layers.{i}.self_attn.q_proj.weight ...), so a state dict is
a checkpoint.

Training runs sequences of two parts: the clean tokens, and behind them noisy copies of the answer blocks. Each token has
a position, and the number of its copy (0 is the clean part, -1 is padding). It sees the clean tokens of all blocks before
its own, and the tokens of its own block in its own copy: exactly what decoding with cached blocks sees.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from layers import RMSNorm, rotary_tables, rotate


def visible(position, copy, block_size):
    """[b, t] positions and copies -> [b, t, t], True where the row may look at the column."""
    block = position // block_size
    q, k = slice(None), None
    same = (copy[:, q, None] == copy[:, k, q]) & (block[:, q, None] == block[:, k, q])
    return same | ((copy[:, k, q] == 0) & (block[:, k, q] < block[:, q, None]))


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d, self.size = cfg["hidden_size"], cfg["head_dim"]
        self.heads, self.kv_heads = cfg["num_attention_heads"], cfg["num_key_value_heads"]
        self.q_proj = nn.Linear(d, self.heads * self.size, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(d, self.kv_heads * self.size, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(self.heads * self.size, d, bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.size, cfg["rms_norm_eps"]), RMSNorm(self.size, cfg["rms_norm_eps"])

    def forward(self, x, cos, sin, bias, first):
        """x [b, t, d], bias [b, 1, t, t]; the rows from `first` on are produced."""
        b, t, _ = x.shape
        qkv = F.linear(x, torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)))
        q, k, v = qkv.view(b, t, -1, self.size).split((self.heads, self.kv_heads, self.kv_heads), 2)
        q = rotate(self.q_norm(q[:, first:]), cos[:, first:], sin[:, first:])
        k = rotate(self.k_norm(k), cos, sin)
        group = self.heads // self.kv_heads
        k, v = (y.transpose(1, 2).repeat_interleave(group, 1) for y in (k, v))
        o = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, bias[:, :, first:])
        return self.o_proj(o.transpose(1, 2).reshape(b, t - first, -1))


class MLP(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d, m = cfg["hidden_size"], cfg["intermediate_size"]
        self.gate_proj, self.up_proj = nn.Linear(d, m, bias=False), nn.Linear(d, m, bias=False)
        self.down_proj = nn.Linear(m, d, bias=False)

    def forward(self, x):
        gate, up = F.linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight))).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.self_attn, self.mlp = Attention(cfg), MLP(cfg)
        self.input_layernorm = RMSNorm(cfg["hidden_size"], cfg["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(cfg["hidden_size"], cfg["rms_norm_eps"])

    def forward(self, h, cos, sin, bias, first=0):
        h = h[:, first:] + self.self_attn(self.input_layernorm(h), cos, sin, bias, first)
        return h + self.mlp(self.post_attention_layernorm(h))


class SDAR(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg, d, self.model = cfg, cfg["hidden_size"], nn.Module()
        self.model.embed_tokens = nn.Embedding(cfg["vocab_size"], d)
        self.model.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg["num_hidden_layers"]))
        self.model.norm = RMSNorm(d, cfg["rms_norm_eps"])
        self.lm_head = nn.Linear(d, cfg["vocab_size"], bias=False)
        cos, sin = rotary_tables(cfg["head_dim"], cfg["max_position_embeddings"], cfg["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def init_weights(self, generator):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                std = 0.02 if "embed" in name else p.shape[1] ** -0.5
                if "o_proj" in name or "down_proj" in name:
                    std /= (2 * self.cfg["num_hidden_layers"]) ** 0.5
                with torch.no_grad():
                    p.normal_(0, std, generator=generator)

    def forward(self, ids, position, copy, first=0, rows=None):
        """Logits of the rows from `first` on, or of those that the mask `rows` [b, t - first] picks (row i predicts i)."""
        h = self.model.embed_tokens(ids)
        see = visible(position, copy, self.cfg["block_size"])[:, None]
        bias = torch.zeros(see.shape).masked_fill_(~see, float("-inf"))
        cos, sin = (table[position][:, :, None] for table in (self.cos, self.sin))
        for layer in self.model.layers:
            h = layer(h, cos, sin, bias, first if layer is self.model.layers[-1] else 0)
        return self.lm_head(self.model.norm(h if rows is None else h[rows]))
