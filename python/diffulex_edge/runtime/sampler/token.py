"""Samplers of one token at a time."""
import abc
import random
from typing import Any, Optional

from .._rows import Rows, kind_of, shape_of, uniforms

__all__ = ["GreedySampler", "Sampler", "TemperatureSampler", "TopKSampler", "TopPSampler", "get_sampler"]


def _first_row(logits: Any) -> Any:
    """logits [vocab], or the first row of [n, vocab], as [1, vocab]."""
    two = len(shape_of(logits)) == 2
    if kind_of(logits) == "list":
        return [logits[0]] if two else [logits]
    return logits[:1] if two else logits.reshape(1, -1)


class Sampler(abc.ABC):
    """sample(logits) -> token id. logits are [vocab], or [n, vocab] whose first row counts."""

    @abc.abstractmethod
    def sample(self, logits: Any) -> int:
        """One token id from logits [vocab] or [1, vocab]."""

    def reset(self) -> None:  # noqa: B027 - most samplers have nothing to forget
        """Back to the state after construction."""


class GreedySampler(Sampler):
    """The likeliest token."""

    def sample(self, logits: Any) -> int:
        """The likeliest token."""
        return Rows(_first_row(logits)).argmax()[0]


class _Drawing(Sampler):
    """Draws at a temperature; 0 is greedy. With a seed the draws repeat from reset() on."""

    def __init__(self, temperature: float, seed: Optional[int]) -> None:
        self.temperature = temperature
        self.seed = seed
        self._rng: Optional[random.Random] = None
        self.reset()

    def reset(self) -> None:
        self._rng = None if self.seed is None else random.Random(self.seed)

    def _keep(self, rows: Rows) -> None:
        """Filters the scaled logits."""

    def sample(self, logits: Any) -> int:
        row = _first_row(logits)
        rows = Rows(row)
        if self.temperature <= 0:
            return rows.argmax()[0]
        rows.divide(self.temperature)
        self._keep(rows)
        rows.softmax()
        return rows.draw(uniforms(row, 1, self._rng))[0]


class TemperatureSampler(_Drawing):
    """Draws from all tokens."""

    def __init__(self, temperature: float = 1.0, seed: Optional[int] = None) -> None:
        super().__init__(temperature, seed)


class TopKSampler(_Drawing):
    """Draws from the k likeliest tokens."""

    def __init__(self, k: int = 50, temperature: float = 1.0, seed: Optional[int] = None) -> None:
        self.k = k
        super().__init__(temperature, seed)

    def _keep(self, rows: Rows) -> None:
        if 0 < self.k < rows.vocab:
            kept = set(rows.order()[0][:self.k])
            rows.keep_only(kept)


class TopPSampler(_Drawing):
    """Draws from the likeliest tokens whose mass stays within p, but from min_tokens_to_keep at least. The token that
    crosses p is out, unlike in top_p_logits."""

    def __init__(self, p: float = 0.9, temperature: float = 1.0, min_tokens_to_keep: int = 1,
                 seed: Optional[int] = None) -> None:
        self.p = p
        self.min_tokens_to_keep = min_tokens_to_keep
        super().__init__(temperature, seed)

    def _keep(self, rows: Rows) -> None:
        order = rows.order()[0]
        probabilities = rows.probabilities()[0]
        kept, mass = set(), 0.0
        for n, token in enumerate(order):
            mass += probabilities[token]
            if mass > self.p and n >= self.min_tokens_to_keep:
                break
            kept.add(token)
        rows.keep_only(kept)


def get_sampler(strategy: str = "greedy", temperature: float = 1.0, top_k: int = 50, top_p: float = 0.9,
                seed: Optional[int] = None) -> Sampler:
    """A sampler by name: "greedy", "top_k", "top_p", "temperature"; ValueError for others."""
    if strategy == "greedy":
        return GreedySampler()
    if strategy == "top_k":
        return TopKSampler(top_k, temperature, seed)
    if strategy == "top_p":
        return TopPSampler(top_p, temperature, seed=seed)
    if strategy == "temperature":
        return TemperatureSampler(temperature, seed)
    raise ValueError(f"Unknown sampling strategy: {strategy}. Available: greedy, top_k, top_p, temperature")
