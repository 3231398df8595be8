"""Rows of logits of any kind, and the arithmetic that samplers need.

Samplers take lists, numpy arrays and torch tensors and answer in kind. Here logits become Rows: a numpy matrix where
numpy is installed, else arrays of floats; softmax is formed in double precision; probabilities are rounded to the
input's own. What a filter removes takes the lowest finite value of that precision, as the original does.
"""
import math
import random
from array import array
from typing import Any, Callable, List, Optional, Sequence, Set, Tuple

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment, unused-ignore]

__all__ = ["Rows", "kind_of", "like", "float32", "row_count", "shape_of", "uniforms"]

_FLOAT32_MIN = -3.4028234663852886e38


def kind_of(x: Any) -> str:
    """"torch", "numpy" or "list"."""
    if hasattr(x, "data_ptr"):
        return "torch"
    return "numpy" if hasattr(x, "__array_interface__") else "list"


def shape_of(x: Any) -> Tuple[int, ...]:
    """Shape of an array or of nested lists."""
    shape = getattr(x, "shape", None)
    if shape is not None:
        return tuple(int(n) for n in shape)
    sizes: List[int] = []
    while isinstance(x, (list, tuple, array, memoryview)):
        sizes.append(len(x))
        if not len(x):
            break
        x = x[0]
    return tuple(sizes)


def row_count(x: Any) -> int:
    return shape_of(x)[0]


def like(values: Sequence[Any], x: Any, whole: bool = False) -> Any:
    """A list of numbers as an array of x's kind, precision and device; whole: of integers."""
    kind = kind_of(x)
    if kind == "torch":
        import torch
        real = x.dtype if x.dtype.is_floating_point else torch.float32
        return torch.tensor(list(values), dtype=torch.int64 if whole else real, device=x.device)
    if kind == "numpy":
        real = x.dtype if x.dtype.kind == "f" else numpy.float32
        return numpy.array(list(values), dtype=numpy.int64 if whole else real)
    return [int(v) for v in values] if whole else [float(v) for v in values]


def float32(value: float) -> float:
    """The nearest float32: thresholds are compared with probabilities in that precision."""
    return array("f", [value])[0]


def uniforms(x: Any, n: int, rng: Optional[random.Random]) -> List[float]:
    """n draws from [0, 1): from rng, or from the global generator that belongs to x's kind of array."""
    if rng is not None:
        return [rng.random() for _ in range(n)]
    kind = kind_of(x)
    if kind == "torch":
        import torch
        return [float(u) for u in torch.rand(n, dtype=torch.float64)]
    if kind == "numpy":
        return [float(u) for u in numpy.random.random(n)]
    return [random.random() for _ in range(n)]


def _matrix(x: Any) -> Any:
    """A numpy float matrix that is ours to change."""
    if kind_of(x) == "torch":
        x = x.detach().cpu()
        x = x.numpy() if str(x.dtype) == "torch.float64" else x.float().numpy()
    elif kind_of(x) == "list":
        x = [[float(v) for v in row] for row in x]
    wide = getattr(x, "dtype", None) is not None and x.dtype == numpy.float64
    return numpy.array(x, dtype=numpy.float64 if wide else numpy.float32)


class Rows:
    """n rows of logits with the operations of the samplers. Filters change them in place."""

    def __new__(cls, x: Any) -> "Rows":
        return object.__new__(_NumpyRows if numpy is not None else _PlainRows)

    def __init__(self, x: Any) -> None:
        raise NotImplementedError

    n: int
    vocab: int

    def divide(self, temperature: float) -> None: ...
    def keep_top_p(self, p: float) -> None: ...
    def keep_top_k(self, k: int) -> None: ...
    def softmax(self) -> None:
        """Turns logits into probabilities."""
    def argmax(self) -> List[int]: ...  # type: ignore[empty-body]
    def pick(self, ids: Sequence[int]) -> List[float]: ...  # type: ignore[empty-body]
    def margins(self) -> List[float]: ...  # type: ignore[empty-body]
    def negative_entropies(self) -> List[float]: ...  # type: ignore[empty-body]
    def draw(self, draws: Sequence[float]) -> List[int]: ...  # type: ignore[empty-body]
    def lists(self) -> List[List[float]]: ...  # type: ignore[empty-body]
    def order(self) -> List[List[int]]:  # type: ignore[empty-body]
        """Ids of each row, the likeliest first, the lower id first among equals."""
    def probabilities(self) -> List[List[float]]:  # type: ignore[empty-body]
        """The softmax of each row; the rows stay as they are."""
    def keep_only(self, ids: Set[int]) -> None:
        """Removes all other ids."""
    def take_out(self, ids: Sequence[int]) -> List[float]:  # type: ignore[empty-body]
        """Removes these ids; returns the probability of all others in each row."""


class _NumpyRows(Rows):
    def __init__(self, x: Any) -> None:
        self.m = _matrix(x)
        self.n, self.vocab = (self.m.shape if self.m.ndim == 2 else (0, 0))
        self.lowest = numpy.finfo(self.m.dtype).min

    def divide(self, temperature: float) -> None:
        self.m /= self.m.dtype.type(temperature)

    def _sorted(self) -> Any:
        return numpy.argsort(-self.m, axis=1, kind="stable")

    def keep_top_p(self, p: float) -> None:
        order = self._sorted()
        ordered = numpy.take_along_axis(_exact_softmax(self.m), order, 1)
        reached = numpy.cumsum(ordered, 1) > p
        reached[:, 1:] = reached[:, :-1].copy()  # the token that crosses p stays
        reached[:, 0] = False
        removed = numpy.empty_like(reached)
        numpy.put_along_axis(removed, order, reached, 1)
        self.m[removed] = self.lowest

    def keep_top_k(self, k: int) -> None:
        kth = numpy.partition(self.m, self.vocab - k, axis=1)[:, self.vocab - k:self.vocab - k + 1]
        self.m[self.m < kth] = self.lowest

    def softmax(self) -> None:
        self.m = _softmax_numpy(self.m)

    def argmax(self) -> List[int]:
        return [int(i) for i in self.m.argmax(1)] if self.n else []

    def pick(self, ids: Sequence[int]) -> List[float]:
        return [float(v) for v in self.m[numpy.arange(self.n), numpy.asarray(ids, dtype=numpy.int64)]]

    def margins(self) -> List[float]:
        if self.vocab < 2:
            return [float(v) for v in self.m[:, 0]]
        best = numpy.partition(self.m, self.vocab - 2, axis=1)[:, -2:]
        return [float(v) for v in best[:, 1] - best[:, 0]]

    def negative_entropies(self) -> List[float]:
        wide = self.m.astype(numpy.float64)
        return [float(v) for v in (wide * numpy.log(wide + 1e-10)).sum(1).astype(self.m.dtype)]

    def draw(self, draws: Sequence[float]) -> List[int]:
        mass = numpy.cumsum(self.m.astype(numpy.float64), 1)
        return [min(int(numpy.searchsorted(row, u * row[-1], side="right")), self.vocab - 1)
                for row, u in zip(mass, draws)]

    def lists(self) -> List[List[float]]:
        return [list(map(float, row)) for row in self.m]

    def order(self) -> List[List[int]]:
        return [[int(i) for i in row] for row in self._sorted()]

    def probabilities(self) -> List[List[float]]:
        return [list(map(float, row)) for row in _softmax_numpy(self.m)]

    def keep_only(self, ids: Set[int]) -> None:
        removed = numpy.ones(self.vocab, dtype=bool)
        removed[sorted(ids)] = False
        self.m[:, removed] = self.lowest

    def take_out(self, ids: Sequence[int]) -> List[float]:
        shares = 1.0 - _exact_softmax(self.m)[:, list(ids)].sum(1)
        self.m[:, list(ids)] = self.lowest
        return [float(v) for v in shares]


def _exact_softmax(m: Any) -> Any:
    wide = m.astype(numpy.float64)
    wide -= wide.max(1, keepdims=True)
    numpy.exp(wide, out=wide)
    wide /= wide.sum(1, keepdims=True)
    return wide


def _softmax_numpy(m: Any) -> Any:
    return _exact_softmax(m).astype(m.dtype)


class _PlainRows(Rows):
    def __init__(self, x: Any) -> None:
        if kind_of(x) == "torch":
            x = x.detach().cpu().tolist()
        self.m = [array("f", row) for row in x]
        self.n, self.vocab = len(self.m), len(self.m[0]) if self.m else 0

    def _each(self, change: Callable[["array[float]"], "array[float]"]) -> None:
        self.m = [change(row) for row in self.m]

    def divide(self, temperature: float) -> None:
        self._each(lambda row: array("f", [v / temperature for v in row]))

    def keep_top_p(self, p: float) -> None:
        def change(row: "array[float]") -> "array[float]":
            probabilities = _exact_softmax_plain(row)
            total = 0.0
            kept = array("f", [_FLOAT32_MIN]) * len(row)
            for i in sorted(range(len(row)), key=lambda i: -row[i]):
                kept[i] = row[i]
                total += probabilities[i]
                if total > p:  # the token that crosses p stays
                    break
            return kept
        self._each(change)

    def keep_top_k(self, k: int) -> None:
        def change(row: "array[float]") -> "array[float]":
            kth = sorted(row)[len(row) - k]
            return array("f", [v if v >= kth else _FLOAT32_MIN for v in row])
        self._each(change)

    def softmax(self) -> None:
        self._each(_softmax_plain)

    def argmax(self) -> List[int]:
        return [row.index(max(row)) for row in self.m]

    def pick(self, ids: Sequence[int]) -> List[float]:
        return [row[i] for row, i in zip(self.m, ids)]

    def margins(self) -> List[float]:
        best = (sorted(row)[-2:] for row in self.m)
        return [float32(b[1] - b[0]) if len(b) > 1 else b[0] for b in best]

    def negative_entropies(self) -> List[float]:
        return [float32(math.fsum(p * math.log(p + 1e-10) for p in row)) for row in self.m]

    def draw(self, draws: Sequence[float]) -> List[int]:
        ids = []
        for row, u in zip(self.m, draws):
            target, total, chosen = u * sum(row), 0.0, len(row) - 1
            for i, p in enumerate(row):
                total += p
                if total > target:
                    chosen = i
                    break
            ids.append(chosen)
        return ids

    def lists(self) -> List[List[float]]:
        return [list(row) for row in self.m]

    def order(self) -> List[List[int]]:
        return [[i for _, i in sorted((-v, i) for i, v in enumerate(row))] for row in self.m]

    def probabilities(self) -> List[List[float]]:
        return [list(_softmax_plain(row)) for row in self.m]

    def keep_only(self, ids: Set[int]) -> None:
        self._each(lambda row: array("f", [v if i in ids else _FLOAT32_MIN for i, v in enumerate(row)]))

    def take_out(self, ids: Sequence[int]) -> List[float]:
        shares = []
        for row in self.m:
            probabilities = _exact_softmax_plain(row)
            shares.append(1.0 - math.fsum(probabilities[i] for i in ids))
            for i in ids:
                row[i] = _FLOAT32_MIN
        return shares


def _exact_softmax_plain(row: "array[float]") -> List[float]:
    top = max(row)
    powers = [math.exp(v - top) for v in row]
    total = math.fsum(powers)
    return [p / total for p in powers]


def _softmax_plain(row: "array[float]") -> "array[float]":
    return array("f", _exact_softmax_plain(row))


def finite(x: Any) -> Tuple[bool, bool]:
    """(holds NaN, holds an infinity)"""
    kind = kind_of(x)
    if kind == "torch":
        return bool(x.isnan().any()), bool(x.isinf().any())
    if kind == "numpy":
        return bool(numpy.isnan(x).any()), bool(numpy.isinf(x).any())
    values = [v for row in x for v in row]
    return any(map(math.isnan, values)), any(map(math.isinf, values))

