"""Forward functions for the decoders: a native session, and any callable that turns a sequence into logits."""
import inspect
from typing import Any, Callable, Dict, List, Optional

from diffulex_edge.decode import ForwardCall

from ._rows import kind_of, shape_of

__all__ = ["SequenceForward", "session_forward"]


def session_forward(session: Any) -> Callable[[ForwardCall], Any]:
    """A Session as a Python forward function."""
    def forward(call: ForwardCall) -> Any:
        return session.forward(call.ids, call.start, call.context, call.attn_block, call.n_store, call.rows)
    return forward


def _parameters(model: Any) -> Dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(getattr(model, "forward", model)).parameters)
    except (TypeError, ValueError):
        return {}


class SequenceForward:
    """Answers forward calls by running a callable over the whole sequence.

    model(ids) -> logits [n, vocab] or [1, n, vocab], or a tuple that begins with them. A torch module gets a tensor
    [1, n], and `positions` [1, n] and an additive `mask` where its forward has such parameters; other callables get a
    list of ids. Nothing is cached: every call runs all positions up to its last one.
    """

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.model = model
        self.device = device
        self._canvas: List[int] = []
        self._names = _parameters(model)
        self._torch = hasattr(model, "parameters") and hasattr(model, "forward")

    def __call__(self, call: ForwardCall) -> Any:
        end = max([call.start + len(call.ids), *(stop for _, stop in call.context)])
        self._canvas.extend([0] * (end - len(self._canvas)))
        canvas = list(self._canvas[:end])
        canvas[call.start:call.start + len(call.ids)] = call.ids
        self._canvas[call.start:call.start + call.n_store] = call.ids[:call.n_store]
        if not call.rows:
            return []
        seen = set(range(call.start, call.start + len(call.ids)))
        for begin, stop in call.context:
            seen.update(range(begin, stop))
        if len(seen) != end:
            raise ValueError("a model without a cache cannot leave out positions: this algorithm needs one; take a "
                             ".pte, or give from_model a forward function and facts")
        logits = self.run(canvas, call.attn_block)
        rows = [call.start + r for r in call.rows]
        return [logits[r] for r in rows] if kind_of(logits) == "list" else logits[rows]

    def run(self, ids: List[int], attn_block: int) -> Any:
        """Logits [len(ids), vocab] of a whole sequence."""
        result = self._run_torch(ids, attn_block) if self._torch else self.model(list(ids))
        if isinstance(result, tuple):
            result = result[0]
        result = getattr(result, "logits", result)
        shape = shape_of(result)
        if len(shape) == 3 and shape[0] == 1:
            result, shape = result[0], shape[1:]
        if len(shape) != 2 or shape[0] != len(ids):
            raise ValueError(f"the model returned logits of shape {shape} for {len(ids)} ids; expected ({len(ids)}, "
                             "vocabulary)")
        return result

    def _run_torch(self, ids: List[int], attn_block: int) -> Any:
        import torch
        keywords: Dict[str, Any] = {}
        positions = torch.arange(len(ids), device=self.device)
        if "positions" in self._names:
            keywords["positions"] = positions[None]
        mask: Optional[str] = next((name for name in ("mask", "attention_mask") if name in self._names), None)
        if mask and attn_block:
            block = positions // attn_block
            keywords[mask] = (block[None, :] > block[:, None]).float()[None, None] * -10000.0
        with torch.no_grad():
            return self.model(torch.tensor([ids], dtype=torch.long, device=self.device), **keywords)
