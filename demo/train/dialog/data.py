"""From dialogues to token ids, and from those to batches with noisy answer blocks."""
import json
import random

import numpy as np
from tokenizers import Tokenizer

from dialog import tasks, tokenizer

BLOCK = 8
_TOKENIZER = Tokenizer.from_str(json.dumps(tokenizer.as_json()))


def encode(text):
    return _TOKENIZER.encode(text, add_special_tokens=False).ids


def decode(ids):
    return _TOKENIZER.decode(ids, skip_special_tokens=False)


def prompt_text(question):
    """One user turn and the opening of the answer, as the chat template renders them."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def to_ids(dialogue):
    """All turns as ids, and for each answer where it starts and where its end token is."""
    ids, spans = [], []
    for _, question, answer, _ in dialogue:
        ids += encode(prompt_text(question))
        start = len(ids)
        ids += encode(answer) + [tokenizer.IM_END]
        spans.append((start, len(ids) - 1))
        ids += encode("\n")
    return ids, spans


class Example:
    """The clean part of a dialogue, and its answer blocks: inputs, known positions, and targets.

    A block holds the tail of the question (always known), the answer, its end token, and <|endoftext|> up to the end.
    """

    def __init__(self, dialogue):
        ids, spans = to_ids(dialogue)
        first = [(start // BLOCK, end // BLOCK, start, end) for start, end in spans]
        blocks = [b for lo, hi, _, _ in first for b in range(lo, hi + 1)]
        self.clean = np.array(ids[:blocks[-1] * BLOCK], np.int64)
        self.position = (np.array(blocks)[:, None] * BLOCK + np.arange(BLOCK)).astype(np.int64)
        self.target = np.full(self.position.shape, tokenizer.EOT, np.int64)
        self.known = np.zeros(self.position.shape, bool)
        row = 0
        for lo, hi, start, end in first:
            for b in range(lo, hi + 1):
                part = ids[b * BLOCK:min((b + 1) * BLOCK, end + 1)]
                self.target[row, :len(part)] = part
                self.known[row] = self.position[row] < start
                row += 1


def noisy(example, copies, rng):
    """Mask k of the n unknown tokens of every block, k uniform in 1..n and stratified over the copies.

    Returns ids and weights [copies, blocks, BLOCK]. Weight n / k makes the sum the bound of a masked diffusion with masks
    at rate t, t uniform in 0..1 and weight 1 / t: given n tokens, the number of masks is then uniform.
    """
    shape = (copies,) + example.target.shape
    n = (~example.known).sum(1)
    u = (np.argsort(rng.random((copies, len(n))), axis=0) + rng.random((copies, len(n)))) / copies
    k = 1 + np.floor(u * n).astype(np.int64)
    order = np.where(example.known, 2.0, rng.random(shape))
    rank = np.argsort(np.argsort(order, axis=-1), axis=-1)
    masked = rank < k[:, :, None]
    ids = np.where(masked, tokenizer.MASK, example.target)
    return ids, masked * (n / k)[:, :, None]


def batch(examples, copies, rng):
    """Pad examples of similar size into arrays: ids, position, copy [b, t], target, weight [b, t - first], and first."""
    first = max(len(e.clean) for e in examples)
    rest = copies * max(e.target.size for e in examples)
    shape = (len(examples), first + rest)
    ids, position = np.full(shape, tokenizer.EOT, np.int64), np.zeros(shape, np.int64)
    copy = np.full(shape, -1, np.int64)
    target, weight = np.zeros((len(examples), rest), np.int64), np.zeros((len(examples), rest), np.float32)
    for i, e in enumerate(examples):
        c, size = len(e.clean), e.target.size
        ids[i, :c], position[i, :c], copy[i, :c] = e.clean, np.arange(c), 0
        inputs, weights = noisy(e, copies, rng)
        part = slice(first, first + copies * size)
        ids[i, part], position[i, part] = inputs.ravel(), np.tile(e.position.ravel(), copies)
        copy[i, part] = np.repeat(np.arange(1, copies + 1), size)
        target[i, :copies * size], weight[i, :copies * size] = np.tile(e.target.ravel(), copies), weights.ravel()
    return ids, position, copy, target, weight, first


def training_batches(seed, step, size, tokens, copies):
    """The examples of one step, the longest first, in micro-batches of about so many tokens; all weights sum to one."""
    dialogues = tasks.Dialogues(random.Random(f"{seed} {step}"), step=step)
    rng = np.random.default_rng((seed, step))
    examples = [Example(dialogues.dialogue()) for _ in range(size)]
    unknown = copies * sum(int((~e.known).sum()) for e in examples)
    length = lambda e: len(e.clean) + copies * e.target.size
    examples.sort(key=length, reverse=True)
    parts = []
    while examples:
        rows = max(1, tokens // length(examples[0]))
        ids, position, copy, target, weight, first = batch(examples[:rows], copies, rng)
        parts.append((ids, position, copy, target, weight / unknown, first))
        del examples[:rows]
    return parts
