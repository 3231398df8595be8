"""Drawing tokens from logits, with the confidence of each."""
import random
from typing import Any, List, Optional, Tuple

from .._rows import Rows, float32, kind_of, like, row_count, uniforms

__all__ = ["sample_tokens", "top_k_logits", "top_p_logits"]


def _filtered(rows: Rows, logits: Any) -> Any:
    kind = kind_of(logits)
    if kind == "torch":
        import torch
        # What a filter removed takes the lowest value of the tensor's own precision.
        lowest = torch.finfo(logits.dtype).min
        new = torch.tensor(rows.lists(), dtype=torch.float64, device=logits.device).reshape(logits.shape)
        return torch.where(new <= -3.4e38, torch.full_like(logits, lowest), logits)
    if kind == "numpy":
        import numpy
        return numpy.array(rows.lists(), dtype=logits.dtype).reshape(logits.shape)
    return rows.lists()


def top_p_logits(logits: Any, top_p: Optional[float] = None) -> Any:
    """Keeps the likeliest tokens of each row [n, vocab] up to the mass top_p, the one that crosses it included; the
    others get the lowest finite value. None, or 1 and more, keeps all."""
    if top_p is None or top_p >= 1 or not row_count(logits):
        return logits
    rows = Rows(logits)
    rows.keep_top_p(top_p)
    return _filtered(rows, logits)


def top_k_logits(logits: Any, top_k: Optional[int] = None) -> Any:
    """Keeps the top_k likeliest tokens of each row [n, vocab], ties with the last one included; the others get the
    lowest finite value. None, or 0 and less, keeps all."""
    if top_k is None or top_k <= 0 or not row_count(logits):
        return logits
    rows = Rows(logits)
    rows.keep_top_k(min(top_k, rows.vocab))
    return _filtered(rows, logits)


def sample_tokens(logits: Any, temperature: float = 0.0, top_p: Optional[float] = None, top_k: Optional[int] = None,
                  margin_confidence: bool = False, neg_entropy: bool = False, *,
                  rng: Optional[random.Random] = None, never: Optional[int] = None,
                  known: int = 0) -> Tuple[Any, Any, Any]:
    """One token for each row of logits [n, vocab].

    temperature        0: the likeliest token (the lowest id among equals); above: logits are divided by it, and drawn
    top_p, top_k       filters, in this order; see top_p_logits and top_k_logits
    margin_confidence  confidence is the distance of the two largest probabilities
    neg_entropy        confidence is the sum of p * log(p), at most 0; takes precedence
    never              a token that is not chosen, though its probability still counts: the mask
    known              ids from here on have no token and are not chosen either; 0: all have one
    rng                source of the draws; default: the global generator of torch, numpy or random, as the logits are

    Returns (confidence [n], tokens [n], probability of each token after temperature and filters [n]): lists for lists,
    arrays for arrays, tensors for tensors.
    """
    rows = Rows(logits)
    if not rows.n:
        return like([], logits), like([], logits, whole=True), like([], logits)
    if temperature > 0:
        rows.divide(temperature)
    others = [1.0] * rows.n
    barred = list(range(known, rows.vocab)) if known > 0 else []
    if never is not None and 0 <= never < (known or rows.vocab):
        barred.append(never)
    if barred:
        others = rows.take_out(barred)
    if top_p is not None and top_p < 1:
        rows.keep_top_p(top_p)
    if top_k is not None and top_k > 0:
        rows.keep_top_k(min(top_k, rows.vocab))
    rows.softmax()
    tokens = rows.draw(uniforms(logits, rows.n, rng)) if temperature > 0 else rows.argmax()
    initial = [p * share for p, share in zip(rows.pick(tokens), others)]
    confidence = initial
    if neg_entropy:
        confidence = rows.negative_entropies()
    elif margin_confidence:
        confidence = [p * share for p, share in zip(rows.margins(), others)]
    return like(confidence, logits), like(tokens, logits, whole=True), like(initial, logits)


def above(values: Any, threshold: float) -> List[int]:
    """Indices of the values above a threshold, compared in float32."""
    limit = float32(threshold)
    return [i for i, value in enumerate(values) if float32(float(value)) > limit]
