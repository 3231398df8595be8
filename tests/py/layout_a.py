"""The stock ExecuTorch runtime as a caller of layout A: the cache lives here, in torch tensors by absolute position."""
import torch
from executorch.runtime import Runtime, Verification


class StockRuntime:
    """forward(tokens, positions, k_0, v_0, ...) of a .pte, loaded with full verification."""

    def __init__(self, path, capacity):
        self.program = Runtime.get().load_program(str(path), verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")
        meta = self.method.metadata
        shape = list(meta.input_tensor_meta(2).sizes())
        self.kv = [torch.zeros(capacity, *shape[1:]) for _ in range(meta.num_inputs() - 2)]

    def constant(self, name):
        return self.program.load_method(name).execute([])

    def forward(self, ids, start=0, context=(), store=False):
        """ids [T] at positions start..; context: cached positions that take part -> logits [T, vocab]."""
        context = torch.tensor(list(context), dtype=torch.long)
        cached = [t[context] if len(context) else t[:0] for t in self.kv]
        out = self.method.execute([torch.tensor(ids), torch.arange(start, start + len(ids)), *cached])
        if store:
            for cache, new in zip(self.kv, out[1:]):
                cache[start:start + len(ids)] = new
        return out[0].clone()

    def block_causal(self, ids, width, start=0):
        """Rows from `start` (a block's first) on behind everything before them, under block-causal attention, one call
        a block; stored -> logits [n, vocab]."""
        rows = [self.forward(ids[p:p + width], start + p, range(start + p), True) for p in range(0, len(ids), width)]
        return torch.cat(rows)
