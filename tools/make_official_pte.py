"""Exports the small programs in tests/data/format with ExecuTorch's own exporter (executorch 1.4.1, torchao, torch).

usage: python tools/make_official_pte.py FOLDER

official_8da8w.pte and official_8da4w.pte hold one small network (embedding, linear layers, softmax, concatenation,
slices, a cache that the program updates) with int8 weights by row and with int4 weights in groups of 32, and constant
methods of every kind.
"""
import pathlib
import sys

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.runtime import Runtime
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.utils import unwrap_tensor_subclass

ROWS, VOCABULARY, WIDTH = 4, 20, 64


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.up = torch.nn.Linear(WIDTH, 32, bias=True)
        self.down = torch.nn.Linear(32, WIDTH, bias=False)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.register_buffer("cache", torch.zeros(ROWS, WIDTH))

    def forward(self, ids):
        x = self.table(ids)
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
        h = self.down(torch.sigmoid(self.up(x)))
        y = torch.cat([h[:, WIDTH // 2:], -h[:, :WIDTH // 2]], -1) + x
        seen = self.cache + y
        self.cache.copy_(y)
        return torch.softmax(self.head(seen), -1)


def export(path, dtype, granularity):
    torch.manual_seed(7)
    network = Network().eval()
    quantize_(network, Int8DynamicActivationIntxWeightConfig(weight_dtype=dtype, weight_granularity=granularity))
    network = unwrap_tensor_subclass(network) or network
    ids = torch.tensor([3, 0, 19, 7])
    with torch.no_grad():
        program = torch.export.export(network, (ids,), strict=False)
    methods = {"get_max_seq_len": 128, "get_eos_ids": [1, 2], "use_kv_cache": True, "get_rope_theta": 1e6,
               "get_model_name": "small"}
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods,
                                          compile_config=EdgeCompileConfig(_check_ir_validity=False))
    finished = lowered.to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True))
    with open(path, "wb") as file:
        finished.write_to_file(file)
    Runtime.get().load_program(path).load_method("forward").execute([ids])


def main():
    folder = pathlib.Path(sys.argv[1])
    export(folder / "official_8da8w.pte", torch.int8, PerAxis(0))
    export(folder / "official_8da4w.pte", torch.int4, PerGroup(32))


if __name__ == "__main__":
    main()
