"""What the samplers of all four models share: masked positions of the active block become candidates, some of them are
accepted and written to the block."""
import dataclasses
import random
from typing import Any, List, Optional, Sequence

from ..._rows import kind_of
from ...block import BlockStatus, DiffusionBlock, DiffusionBlockManager
from ..base import above, sample_tokens
from ..shift import NoShiftLogitsSampler, ShiftLogitsSampler

__all__ = ["BlockSampler", "SampleOutput"]


@dataclasses.dataclass
class SampleOutput:
    """What one call accepted."""

    accepted_local_positions: List[int] = dataclasses.field(default_factory=list)
    accepted_tokens: List[int] = dataclasses.field(default_factory=list)
    block_confirmed: bool = False  # every position of the block is filled
    confidences: List[float] = dataclasses.field(default_factory=list)  # probability of each accepted token


def rows_at(logits: Any, positions: Sequence[int]) -> Any:
    return [logits[i] for i in positions] if kind_of(logits) == "list" else logits[list(positions)]


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: values[i])


class BlockSampler:
    """Base of the samplers. A model says whether it shifts, where its threshold comes from, and which candidate is
    taken when none is above it."""

    model_type = ""
    shifts = False
    per_block = False     # threshold of the block, and nothing accepted below it while the block before is incomplete
    output_class = SampleOutput

    def __init__(self, mask_token_id: int, threshold: float, temperature: float, top_k: int, top_p: float,
                 margin_confidence: bool, neg_entropy: bool) -> None:
        self.mask_token_id = mask_token_id
        self.threshold = threshold
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.margin_confidence = margin_confidence
        self.neg_entropy = neg_entropy
        self.rng: Optional[random.Random] = None  # source of the draws; None: the global one
        self.never: Optional[int] = None          # a token that is never chosen: an engine sets the mask
        self.known = 0                            # ids from here on are not chosen either; 0: all may be
        self.use_shift(self.shifts)

    def use_shift(self, shifts: bool) -> None:
        """Whether row i-1 of the logits predicts position i; a checkpoint may differ from its family."""
        self.shifts = shifts
        self.shift_sampler = ShiftLogitsSampler() if shifts else NoShiftLogitsSampler()

    def reset(self) -> None:
        """Forgets what was remembered between calls."""
        self.shift_sampler.reset_cache()

    def sample(self, block_manager: DiffusionBlockManager, logits: Any, last_logits: Optional[Any] = None,
               fill: bool = False) -> SampleOutput:
        """Fills positions of the active block from its logits [block length, vocab].

        last_logits  shifted models: the row of the position before the block. Without it the block's last row stands
                     in, as the original does
        fill         accept every masked position: the last pass a block may have
        """
        block = block_manager.get_active_block()
        masked = block.get_local_mask_positions() if block is not None else []
        if block is None or not masked:
            return self.output_class(block_confirmed=block is not None and block.is_confirmed)
        if self.shifts:
            first = logits[-1] if last_logits is None else last_logits
            logits = self.shift_sampler.shift(logits, first, use_cache=False)
        confidence, tokens, initial = sample_tokens(
            rows_at(logits, masked), self.temperature, self.top_p, self.top_k, self.margin_confidence, self.neg_entropy,
            rng=self.rng, never=self.never, known=self.known)
        initial = [float(v) for v in initial]
        if fill:
            accepted = list(range(len(masked)))
        else:
            accepted = self._choose(block_manager, block, [float(v) for v in confidence], initial)
        output = self.output_class(accepted_local_positions=[masked[i] for i in accepted],
                                   accepted_tokens=[int(tokens[i]) for i in accepted],
                                   confidences=[initial[i] for i in accepted])
        for position, token in zip(output.accepted_local_positions, output.accepted_tokens):
            block.confirm_token(position, token)
        output.block_confirmed = block.is_confirmed
        return output

    def _choose(self, manager: DiffusionBlockManager, block: DiffusionBlock, confidence: List[float],
                initial: List[float]) -> List[int]:
        accepted = above(initial, block.accept_threshold if self.per_block else self.threshold)
        if not self.per_block:
            return sorted({*accepted, _best(initial)})
        if accepted or not self._previous_confirmed(manager, block):
            return accepted
        return [_best(confidence)]

    @staticmethod
    def _previous_confirmed(manager: DiffusionBlockManager, block: DiffusionBlock) -> bool:
        i = manager.blocks.index(block)
        return i == 0 or manager.blocks[i - 1].status is BlockStatus.CONFIRMED
