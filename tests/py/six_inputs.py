"""Programs of the six-input contract in the stock ExecuTorch runtime: masks as they should be, and the driver of the original
engine, made again from its description: what it feeds a program, mistakes included."""
import torch
from executorch.runtime import Runtime, Verification

HIDDEN = -10000.0


class SixInputs:
    """forward(input_ids, positions, kv_cache, attention_mask, insert_matrix, keep_mask), loaded with full verification."""

    def __init__(self, path):
        self.program = Runtime.get().load_program(str(path), verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")
        self.shape = [list(self.method.metadata.input_tensor_meta(i).sizes()) for i in range(6)]
        self.rows, self.slots = self.shape[0][1], self.shape[2][4]
        self.cache = torch.zeros(self.shape[2])

    def run(self, ids, start, mask, insert, keep):
        ids = list(ids) + [0] * (self.rows - len(ids))
        positions = torch.arange(start, start + self.rows)
        logits, cache = self.method.execute([torch.tensor([ids]), positions[None], self.cache, mask, insert, keep])
        return logits[0].clone(), cache.clone()

    def masks(self, start, valid, store, context):
        """What one call needs, and no more: rows see the context and each other, `store` of them are inserted."""
        mask = torch.full(self.shape[3], HIDDEN)
        mask[..., list(context)] = 0
        mask[..., self.slots:self.slots + valid] = 0
        insert, keep = torch.zeros(self.shape[4]), torch.ones(self.shape[5])
        for i in range(store):
            insert[..., start + i, i] = 1
            keep[..., start + i, :] = 0
        return mask, insert, keep

    def forward(self, ids, start=0, context=(), store=False):
        """ids at positions start..; context: cached positions that take part -> logits [len(ids), vocab]."""
        masks = self.masks(start, len(ids), len(ids) if store else 0, context)
        logits, cache = self.run(ids, start, *masks)
        if store:
            self.cache = cache
        return logits[:len(ids)]

    def block_causal(self, ids, width, start=0):
        rows = [self.forward(ids[p:p + width], start + p, range(start + p), True) for p in range(0, len(ids), width)]
        return torch.cat(rows)


class OriginalDriver(SixInputs):
    """The original engine's calls. max_seq_len is what it takes for the number of slots, which no file tells it."""

    def __init__(self, path, max_seq_len):
        super().__init__(path)
        self.max_seq_len = max_seq_len

    def masks(self, start, valid, store, context):
        mask = torch.zeros(self.shape[3])
        mask[..., :self.max_seq_len] = HIDDEN
        mask[..., :start] = 0
        mask[..., :valid, :start + valid] = 0
        insert, keep = torch.zeros(self.shape[4]), torch.ones(self.shape[5])
        for i in range(valid):
            insert[..., start + i, i] = 1
            keep[..., start + i, :] = 0
        return mask, insert, keep


def decode(model, prompt, new, block, mask, threshold=0.95, shifted=False):
    """The original engine's decoding of a .pte, greedy, over any model with forward(ids, start, context, store): the prompt
    and blocks of the answer one after the other in chunks that see themselves and what lies before, each block until
    it is full. Rows above the threshold are accepted, and the surest one; shifted: row i - 1 is about slot i, and the
    block's own last row about its first."""
    ids, rows = list(prompt), getattr(model, "rows", block)
    for p in range(0, len(ids), rows):
        model.forward(ids[p:p + rows], p, range(p), True)
    while len(ids) < len(prompt) + new:
        start, slots = len(ids), [mask] * min(block, len(prompt) + new - len(ids))
        while mask in slots:
            logits = model.forward(slots, start, range(start))
            logits = logits.roll(1, 0) if shifted else logits
            sure, token = torch.softmax(logits, -1).max(-1)
            open_slots = [i for i, t in enumerate(slots) if t == mask]
            best = max(open_slots, key=lambda i: float(sure[i]))
            for i in open_slots:
                if float(sure[i]) > threshold or i == best:
                    slots[i] = int(token[i])
        model.forward(slots, start, range(start), True)
        ids += slots
    return ids
