"""Named data of a .pte, read by ExecuTorch's own Python tools."""
from pathlib import Path

from oracles import oracle


def named_data(path):
    """{key: bytes}"""
    program = oracle("executorch.exir._serialize._program", "the bytes of weights are")
    named = program.deserialize_pte_binary(Path(path).read_bytes()).named_data
    return {key: bytes(named.buffers[entry.buffer_index]) for key, entry in named.pte_data.items()}
