"""Weights of a .pte by their names, read by ExecuTorch's own Python tools."""
import re
from pathlib import Path

from oracles import oracle


def named_data(path):
    """{name: bytes}: of named data, whose keys end with a mark of the file, and of the constants of the program."""
    program = oracle("executorch.exir._serialize._program", "the bytes of weights are")
    file = program.deserialize_pte_binary(Path(path).read_bytes())
    found = {re.sub("#[0-9a-f]{16}$", "", key): bytes(file.named_data.buffers[entry.buffer_index])
             for key, entry in file.named_data.pte_data.items()}
    for plan in file.program.execution_plan:
        for value in (value.val for value in plan.values):
            if getattr(value, "data_buffer_idx", 0) and value.extra_tensor_info and value.extra_tensor_info.fully_qualified_name:
                name = value.extra_tensor_info.fully_qualified_name
                found.setdefault(name, bytes(file.program.constant_buffer[value.data_buffer_idx].storage))
    return found
