"""Diffusion decoding under the names of the original's older interface: blocks that are all active at once, and a
sampler over whole sequences. The engine's names are re-exported."""
import dataclasses
from typing import Any, Dict, List, Optional, Tuple

from ._rows import Rows, finite, kind_of, like, row_count, shape_of
from .block import BlockStatus, DiffusionBlock, DiffusionBlockManager
from .engine import DiffusionEngine, DiffusionGenerationConfig, GenerationConfig, InferenceEngine
from .sampler.base import above, sample_tokens
from .sampler.models._block import rows_at
from .sampler.shift import ShiftLogitsSampler

__all__ = [
    "BlockStatus", "DiffusionBlock", "DiffusionBlockManager", "DiffusionEngine", "DiffusionGenerationConfig",
    "DiffusionSampler", "GenerationConfig", "InferenceEngine", "SampleOutput",
]


@dataclasses.dataclass
class SampleOutput:
    """What sample_blocks saw and accepted; keys are absolute positions."""

    sampled_tokens: Dict[int, int] = dataclasses.field(default_factory=dict)
    confidence_scores: Dict[int, float] = dataclasses.field(default_factory=dict)
    accepted_tokens: Dict[int, int] = dataclasses.field(default_factory=dict)
    block_states: List[Dict[str, Any]] = dataclasses.field(default_factory=list)


class DiffusionSampler:
    """Samples masked positions of all active blocks from the logits of a whole sequence."""

    def __init__(self, mask_token_id: int = 151665, confidence_threshold: float = 0.9, temperature: float = 1.0,
                 top_k: int = 0, top_p: float = 1.0, margin_confidence: bool = False,
                 neg_entropy: bool = False) -> None:
        self.mask_token_id = mask_token_id
        self.confidence_threshold = confidence_threshold
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.margin_confidence = margin_confidence
        self.neg_entropy = neg_entropy
        self._shift = ShiftLogitsSampler()

    def reset_cache(self) -> None:
        """Forgets the row that shift_logits remembered."""
        self._shift.reset_cache()

    def shift_logits(self, logits: Any, last_logits: Optional[Any] = None, use_cache: bool = True) -> Any:
        """Row i of the result predicts position i; see ShiftLogitsSampler.shift. ValueError for logits that are not two
        dimensional or hold NaN or Inf; empty ones come back as they are."""
        dimensions = len(shape_of(logits))
        if dimensions != 2 and not (dimensions == 1 and not row_count(logits) and kind_of(logits) == "list"):
            raise ValueError(f"Expected 2D logits, got {dimensions}D")
        if not row_count(logits):
            return logits
        nan, infinite = finite(logits)
        if nan or infinite:
            raise ValueError(f"Logits contain {'NaN' if nan else 'Inf'} values")
        return self._shift.shift(logits, last_logits, use_cache)

    def compute_confidence(self, logits: Any, tokens: Any) -> Any:
        """Probability [n] of given tokens [n] at the sampler's temperature; RuntimeError when the lengths differ."""
        rows = Rows(logits)
        ids = [int(t) for t in tokens]
        if len(ids) != rows.n:
            raise RuntimeError(f"{len(ids)} tokens were given for {rows.n} rows of logits")
        if self.temperature > 0:
            rows.divide(self.temperature)
        rows.softmax()
        return like(rows.pick(ids), logits)

    def sample_tokens(self, logits: Any, temperature: Optional[float] = None, top_p: Optional[float] = None,
                      top_k: Optional[int] = None, margin_confidence: Optional[bool] = None,
                      neg_entropy: Optional[bool] = None) -> Tuple[Any, Any, Any]:
        """sample_tokens of the sampler package; what is None is the sampler's own setting. Returns (confidence, tokens,
        probability)."""
        def own(value: Any, name: str) -> Any:
            return getattr(self, name) if value is None else value
        return sample_tokens(logits, own(temperature, "temperature"), own(top_p, "top_p"), own(top_k, "top_k"),
                             own(margin_confidence, "margin_confidence"), own(neg_entropy, "neg_entropy"))

    def sample_blocks(self, block_manager: DiffusionBlockManager, logits: Any, last_logits: Optional[Any] = None,
                      threshold: Optional[float] = None) -> SampleOutput:
        """Samples every masked position of every active block and fills those surer than the threshold, at least the
        surest one of each block.

        logits       [n, vocab]; row i predicts position i
        last_logits  [vocab], where row i-1 predicts position i: the row before the first one
        threshold    instead of confidence_threshold
        """
        output = SampleOutput()
        limit = self.confidence_threshold if threshold is None else threshold
        active = [(i, block, [p for p in block.get_global_mask_positions() if p < row_count(logits)])
                  for i, block in block_manager.get_active_blocks()]
        if last_logits is not None and row_count(logits):
            logits = self.shift_logits(logits, last_logits, use_cache=False)
        for i, block, masked in active:
            if masked:
                _, tokens, initial = self.sample_tokens(rows_at(logits, masked))
                scores = [float(v) for v in initial]
                accepted = {*above(scores, limit), scores.index(max(scores))}
                for k, position in enumerate(masked):
                    output.sampled_tokens[position] = int(tokens[k])
                    output.confidence_scores[position] = scores[k]
                    if k in accepted:
                        output.accepted_tokens[position] = int(tokens[k])
                        block.accept_token(position - block.start_pos, int(tokens[k]))
            output.block_states.append({"block_id": i, "start_pos": block.start_pos, "length": block.length,
                                        "is_active": block.is_active, "is_complete": block.is_complete,
                                        "accepted": len(block.tokens)})
        return output
