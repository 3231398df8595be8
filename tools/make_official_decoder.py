"""Exports a decoder layer that a PyTorch user wrote, with ExecuTorch's own exporter (executorch 1.4.1, torch 2.13, torchao).

usage: python tools/make_official_decoder.py FOLDER

official_decoder.pte has float weights and official_decoder_8da4w.pte 4-bit ones in groups of 32; the caller keeps their
caches, so that sessions drive them. official_decoder.safetensors holds token ids and the logits that the float layer has
for them in PyTorch.
"""
import pathlib
import sys

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
    XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
from executorch.exir import to_edge_transform_and_lower
from safetensors.torch import save_file
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerGroup
from torchao.utils import unwrap_tensor_subclass


class Block(torch.nn.Module):
    """One decoder layer with layout A's signature, written as a PyTorch user would."""

    def __init__(self, vocab=64, hidden=32, heads=4, kv=2, dim=8, rows=64):
        super().__init__()
        self.heads, self.kv, self.dim = heads, kv, dim
        self.embed = torch.nn.Embedding(vocab, hidden)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(a, b, bias=False) for a, b in
                                          ((hidden, heads * dim), (hidden, kv * dim), (hidden, kv * dim), (heads * dim, hidden)))
        self.gate, self.up, self.down = (torch.nn.Linear(a, b, bias=False) for a, b in ((hidden, 48), (hidden, 48), (48, hidden)))
        self.norm1, self.norm2, self.norm = (torch.nn.Parameter(torch.rand(hidden) + 0.5) for _ in range(3))
        self.head = torch.nn.Linear(hidden, vocab, bias=False)
        angle = torch.arange(rows)[:, None] * (1e4 ** (-torch.arange(0, dim, 2) / dim))[None, :]
        self.register_buffer("cos", torch.cat([angle.cos()] * 2, -1))
        self.register_buffer("sin", torch.cat([-angle.sin(), angle.sin()], -1))

    def rms(self, x, w):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w

    def rope(self, x, cos, sin):
        half = self.dim // 2
        return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin

    def forward(self, tokens, positions, kc, vc):
        x = self.embed(tokens)
        cos = torch.nn.functional.embedding(positions, self.cos).unsqueeze(1)
        sin = torch.nn.functional.embedding(positions, self.sin).unsqueeze(1)
        h = self.rms(x, self.norm1)
        q = self.rope(self.q(h).view(-1, self.heads, self.dim), cos, sin)
        k = self.rope(self.k(h).view(-1, self.kv, self.dim), cos, sin)
        v = self.v(h).view(-1, self.kv, self.dim)
        keys, values = torch.cat([kc, k]).permute(1, 2, 0), torch.cat([vc, v]).permute(1, 0, 2)
        group = self.heads // self.kv
        grouped = q.view(-1, self.kv, group, self.dim).permute(1, 2, 0, 3).reshape(self.kv, -1, self.dim)
        a = torch.softmax(torch.bmm(grouped, keys) * self.dim ** -0.5, -1)
        a = torch.bmm(a, values).view(self.kv, group, -1, self.dim).permute(2, 0, 1, 3).reshape(-1, self.heads * self.dim)
        x = x + self.o(a)
        h = self.rms(x, self.norm2)
        x = x + self.down(torch.nn.functional.silu(self.gate(h)) * self.up(h))
        return self.head(self.rms(x, self.norm)), k, v


def export(path, module, dim, partitioner):
    rows, cached = torch.export.Dim("rows", min=2, max=24), torch.export.Dim("cached", min=2, max=40)
    example = (torch.arange(6), torch.arange(6), torch.randn(5, 2, dim), torch.randn(5, 2, dim))
    exported = torch.export.export(module, example, dynamic_shapes=({0: rows}, {0: rows}, {0: cached}, {0: cached}))
    path.write_bytes(to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch().buffer)


@torch.no_grad()
def main():
    folder = pathlib.Path(sys.argv[1])
    ids = torch.randint(0, 64, (20,), generator=torch.Generator().manual_seed(5))
    torch.manual_seed(3)
    module = Block().eval()
    export(folder / "official_decoder.pte", module, 8, [XnnpackPartitioner()])
    logits = module(ids, torch.arange(20), torch.zeros(0, 2, 8), torch.zeros(0, 2, 8))[0]
    save_file({"ids": ids, "logits": logits.contiguous()}, folder / "official_decoder.safetensors")
    torch.manual_seed(4)
    module = Block(hidden=64, dim=16).eval()
    module.gate, module.up, module.down = (torch.nn.Linear(a, b, bias=False) for a, b in ((64, 96), (64, 96), (96, 64)))
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32)))
    export(folder / "official_decoder_8da4w.pte", unwrap_tensor_subclass(module) or module, 16,
           [XnnpackDynamicallyQuantizedPartitioner(), XnnpackPartitioner()])


if __name__ == "__main__":
    main()
