"""Shifted models predict position i with row i-1 of their logits; these objects line the rows up."""
from typing import Any, Optional

from .._rows import kind_of, row_count, shape_of

__all__ = ["NoShiftLogitsSampler", "ShiftLogitsSampler"]


def _put_before(row: Any, logits: Any) -> Any:
    """[row, logits[0], ..., logits[-2]]"""
    kind = kind_of(logits)
    if kind == "torch":
        import torch
        first = torch.as_tensor(row, dtype=logits.dtype, device=logits.device).reshape(1, -1)
        return torch.cat([first, logits[:-1]])
    if kind == "numpy":
        import numpy
        return numpy.concatenate([numpy.asarray(row, dtype=logits.dtype).reshape(1, -1), logits[:-1]])
    return [list(row)] + [list(r) for r in logits[:-1]]


def _copy(row: Any) -> Any:
    kind = kind_of(row)
    if kind == "torch":
        return row.clone()
    return row.copy() if kind == "numpy" else list(row)


class ShiftLogitsSampler:
    """Row i-1 predicts position i; the row before the first one is given, remembered, or the last row stands in."""

    def __init__(self) -> None:
        self.cached_last_logits: Any = None

    def reset_cache(self) -> None:
        """Forgets the remembered row."""
        self.cached_last_logits = None

    def fetch_last_logits(self, logits: Any, last_logits: Optional[Any] = None) -> Any:
        """The row that predicts the first position: last_logits, else the remembered one, else the last row here."""
        if last_logits is not None:
            return last_logits
        return logits[-1] if self.cached_last_logits is None else self.cached_last_logits

    def shift(self, logits: Any, last_logits: Optional[Any] = None, use_cache: bool = True) -> Any:
        """logits [n, vocab] -> [n, vocab] whose row i predicts position i.

        last_logits  [vocab], the row before the first one
        use_cache    remember that row for calls that give none

        ValueError unless the logits have two dimensions and at least one row.
        """
        shape = shape_of(logits)
        if len(shape) != 2 and not (len(shape) == 1 and shape[0] == 0):
            raise ValueError(f"Expected 2D logits, got {len(shape)}D")
        if row_count(logits) == 0:
            raise ValueError("Logits sequence length is 0")
        if last_logits is not None:
            first = last_logits
        elif use_cache and self.cached_last_logits is not None:
            first = self.cached_last_logits
        else:
            first = logits[-1]
        if use_cache:
            self.cached_last_logits = _copy(first)
        return _put_before(first, logits)


class NoShiftLogitsSampler:
    """Row i predicts position i."""

    def reset_cache(self) -> None:
        """Nothing is remembered."""

    def fetch_last_logits(self, logits: Any, last_logits: Optional[Any] = None) -> Any:
        """None: nothing is remembered."""
        return logits[-1]

    def shift(self, logits: Any, last_logits: Optional[Any] = None, use_cache: bool = True) -> Any:
        """The logits as they are: row i predicts position i."""
        return logits
