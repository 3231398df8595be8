"""LLaDA-layout transformer: bidirectional attention, RMSNorm, half-rotation RoPE, SwiGLU, no biases, untied head.

Parameter names are those of the published checkpoints (model.transformer.blocks.{i}.q_proj.weight ...), so a state dict is
a checkpoint.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from layers import RMSNorm, rotary_tables, rotate


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d, m = cfg["d_model"], cfg["mlp_hidden_size"]
        self.heads = cfg["n_heads"]
        self.attn_norm = RMSNorm(d, cfg["rms_norm_eps"])
        self.ff_norm = RMSNorm(d, cfg["rms_norm_eps"])
        self.q_proj, self.k_proj, self.v_proj, self.attn_out = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.ff_proj, self.up_proj = nn.Linear(d, m, bias=False), nn.Linear(d, m, bias=False)
        self.ff_out = nn.Linear(m, d, bias=False)

    def forward(self, h, cos, sin, first=0):
        """first > 0: only the rows from `first` on are produced (enough for the last layer)."""
        b, t, d = h.shape
        n = self.attn_norm(h)
        wqkv = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        q, k, v = F.linear(n, wqkv).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(q[:, :, first:], cos[first:], sin[first:]), rotate(k, cos, sin)
        o = ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1).to(v.dtype) @ v
        h = h[:, first:] + self.attn_out(o.transpose(1, 2).reshape(b, t - first, d))
        n = self.ff_norm(h)
        gate, up = F.linear(n, torch.cat((self.ff_proj.weight, self.up_proj.weight))).chunk(2, -1)
        return h + self.ff_out(F.silu(gate) * up)


class LLaDA(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        d, v, self.model = cfg["d_model"], cfg["embedding_size"], nn.Module()
        self.model.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(v, d),
            blocks=nn.ModuleList(Block(cfg) for _ in range(cfg["n_layers"])),
            ln_f=RMSNorm(d, cfg["rms_norm_eps"]),
            ff_out=nn.Linear(d, v, bias=False)))
        cos, sin = rotary_tables(d // cfg["n_heads"], cfg["max_sequence_length"], cfg["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def init_weights(self, generator):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                std = 0.02 if "wte" in name else p.shape[1] ** -0.5
                if "attn_out" in name or "ff_out" in name:
                    std /= (2 * self.cfg["n_layers"]) ** 0.5
                with torch.no_grad():
                    p.normal_(0, std, generator=generator)

    def forward(self, ids, first=0):
        """Logits of rows first.. (row i predicts token i)."""
        tr, t = self.model.transformer, ids.shape[1]
        h = tr.wte(ids)
        if torch.is_autocast_enabled("cpu"):
            h = h.bfloat16()
        cos, sin = self.cos[:t].to(h.dtype), self.sin[:t].to(h.dtype)
        for block in tr.blocks:
            h = block(h, cos, sin, first if block is tr.blocks[-1] else 0)
        return tr.ff_out(tr.ln_f(h))
