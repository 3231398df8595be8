"""A Qwen2 decoder in plain PyTorch, as a user would write it, over a checkpoint's own weights: what run.py compiles, and
exports with a cache in mutable buffers. For the scripts beside it."""
import json
import math
from pathlib import Path

import torch
from torch.nn import functional


class Weights:
    """The tensors of a checkpoint folder by name, as float32."""

    def __init__(self, folder):
        from safetensors import safe_open
        self.files = [safe_open(path, "pt") for path in sorted(Path(folder).glob("*.safetensors"))]

    def __call__(self, name):
        for file in self.files:
            if name in file.keys():
                return file.get_tensor(name).float()
        return None


class Layer(torch.nn.Module):
    def __init__(self, config, weights, i, positions):
        super().__init__()
        self.heads, self.kv = config["num_attention_heads"], config["num_key_value_heads"]
        self.dim = config["hidden_size"] // self.heads
        for part, names in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down"))):
            for name in names:
                prefix = f"model.layers.{i}.{part}.{name}_proj"
                weight, bias = weights(f"{prefix}.weight"), weights(f"{prefix}.bias")
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
                linear.weight.data = weight
                if bias is not None:
                    linear.bias.data = bias
                setattr(self, name, linear)
        self.norm1 = torch.nn.Parameter(weights(f"model.layers.{i}.input_layernorm.weight"))
        self.norm2 = torch.nn.Parameter(weights(f"model.layers.{i}.post_attention_layernorm.weight"))
        if positions:
            self.register_buffer("keys", torch.zeros(self.kv, positions, self.dim))
            self.register_buffer("values", torch.zeros(self.kv, positions, self.dim))

    def attend(self, x, cos, sin, positions, mask):
        def rope(t):
            half = self.dim // 2
            return t * cos + torch.cat([-t[..., half:], t[..., :half]], -1) * sin
        rows, group = x.shape[0], self.heads // self.kv
        q, k, v = (p(x).view(rows, -1, self.dim).transpose(0, 1) for p in (self.q, self.k, self.v))
        q, k = rope(q), rope(k)
        if mask is not None:
            self.keys.index_copy_(1, positions, k)
            self.values.index_copy_(1, positions, v)
            k, v = self.keys, self.values
        # Query heads of a key head together, so that keys and values are not repeated.
        scores = torch.matmul(q.reshape(self.kv, group * rows, self.dim), k.transpose(1, 2)) * self.dim ** -0.5
        if mask is not None:
            scores = scores + mask
        out = torch.matmul(torch.softmax(scores, -1), v).view(self.heads, rows, self.dim)
        return self.o(out.transpose(0, 1).reshape(rows, -1))

    def forward(self, x, cos, sin, positions=None, mask=None):
        x = x + self.attend(rms(x, self.norm1), cos, sin, positions, mask)
        h = rms(x, self.norm2)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


def rms(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight


class Decoder(torch.nn.Module):
    """Rows in, logits of all rows out. positions 0: no cache, all rows see each other; else a static cache of so many, in
    mutable buffers, of which rows see everything up to their last one."""

    def __init__(self, folder, layers=None, positions=0):
        super().__init__()
        config = json.loads((Path(folder) / "config.json").read_text())
        weights = Weights(folder)
        self.count, self.positions = config["num_hidden_layers"], positions
        self.layers = torch.nn.ModuleList([Layer(config, weights, i, positions) for i in range(min(layers or self.count, self.count))])
        self.dim, self.theta = self.layers[0].dim, config["rope_theta"]
        self.embed = torch.nn.Parameter(weights("model.embed_tokens.weight"))
        self.norm = torch.nn.Parameter(weights("model.norm.weight"))
        head = weights("lm_head.weight")
        self.head = torch.nn.Linear(self.embed.shape[1], self.embed.shape[0], bias=False)
        self.head.weight.data = self.embed.data if head is None else head
        most = positions or 1024
        angle = torch.arange(most)[:, None] * torch.exp(-math.log(self.theta) * torch.arange(0, self.dim, 2) / self.dim)
        self.register_buffer("cos", torch.cat([angle.cos()] * 2, -1))
        self.register_buffer("sin", torch.cat([angle.sin()] * 2, -1))

    def body(self, x, positions):
        cos, sin = (functional.embedding(positions, table) for table in (self.cos, self.sin))
        mask = None
        if self.positions:
            mask = torch.where(torch.arange(self.positions) <= positions[-1], 0.0, float("-inf"))
        for layer in self.layers:
            x = layer(x, cos, sin, positions, mask)
        return rms(x, self.norm)

    def forward(self, tokens, positions):
        return self.head(self.body(functional.embedding(tokens, self.embed), positions))


def export_mutable(folder, path, rows, positions):
    """The decoder with its cache in mutable buffers, int8 with dynamically quantised rows, for calls of so many rows: by the
    official quantiser, exporter and XNNPACK partitioner."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis
    from torchao.utils import unwrap_tensor_subclass
    with torch.no_grad():
        module = Decoder(folder, positions=positions).eval()
        quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0)))
        unwrap_tensor_subclass(module)
        exported = torch.export.export(module, (torch.arange(rows), torch.arange(rows)))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackDynamicallyQuantizedPartitioner(), XnnpackPartitioner()])
        program = program.to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True))
    with open(path, "wb") as out:
        program.write_to_file(out)
