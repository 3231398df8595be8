"""The original's decoder: blocks behind the prompt, one after the other, filled by a sampler.

Each pass runs the block (masks where nothing is decided), the model's sampler accepts some positions, and a full block
is run once more to store its keys and values. What the original gets wrong is right here (docs/DIFFERENCES.md): a
shifted model's first row comes from the position before the block; only complete attention blocks are stored, so the
cache is exact for block-causal models; the last pass a block may have fills it.
"""
import time
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from diffulex_edge.decode import Accepted, ForwardCall, ForwardFn, ModelFacts, Step

from .block import DiffusionBlock, DiffusionBlockManager
from .sampler.models import BlockSampler

__all__ = ["BlockDecoder"]


class BlockDecoder:
    """One decode. run() yields a Step for each pass; `canvas` holds prompt and tokens, masks where nothing is known."""

    def __init__(self, forward: ForwardFn, facts: ModelFacts, sampler: BlockSampler, manager: DiffusionBlockManager, *,
                 num_iterations: int, use_kv_cache: bool, stop_ids: Sequence[int] = ()) -> None:
        self.forward = forward
        self.facts = facts
        self.sampler = sampler
        self.manager = manager
        self.num_iterations = num_iterations
        self.use_kv_cache = use_kv_cache
        self.stop_ids = frozenset(stop_ids)
        self.canvas: List[int] = []
        self.num_forwards = 0
        self.stopped = False          # at a stop id
        self._stored = 0              # cached positions
        self._last: Optional[Any] = None  # the row of position _stored - 1, for shifted models

    def run(self, prompt: Sequence[int]) -> Iterator[Step]:
        """The manager's blocks must lie behind the prompt."""
        self.canvas = self.manager.build_sequence(prompt)
        self._stored, self._last, self.num_forwards, self.stopped = 0, None, 0, False
        if self.use_kv_cache and self.manager.blocks:
            yield from self._store(len(prompt), -1)
        while True:
            block = self.manager.get_active_block()
            if block is None:
                return
            yield from self._fill(block)
            more = self.manager.confirm_current_block()
            if self.stopped or not more:
                return
            if self.use_kv_cache:
                yield from self._store(block.start_pos + block.length, block.block_id)

    def _whole(self, end: int) -> int:
        """End of the last complete attention block before `end`: what lies behind it would be stored before all it may
        see is known."""
        width = self.facts.attn_block
        return end if width == 0 else end // width * width

    def _store(self, end: int, block_id: int) -> Iterator[Step]:
        """Runs what is known up to `end` into the cache."""
        begin, end = self._stored, self._whole(end)
        if end <= begin:
            return
        started = time.perf_counter()
        rows = [end - begin - 1] if self.sampler.shifts else []
        logits = self._call(begin, end, rows, end - begin)
        self._last = logits[0] if rows else None
        self._stored = end
        yield Step(block_id, begin, end - begin, begin, [], (time.perf_counter() - started) * 1e3)

    def _call(self, begin: int, end: int, rows: List[int], n_store: int) -> Any:
        self.num_forwards += 1
        return self.forward(ForwardCall(ids=self.canvas[begin:end], start=begin, context=[(0, begin)] if begin else [],
                                        attn_block=self.facts.attn_block, n_store=n_store, rows=rows))

    def _block_rows(self, block: DiffusionBlock) -> Tuple[Any, Optional[Any]]:
        """(the block's own rows, the row before it)"""
        begin = self._stored
        lo, hi = block.start_pos - begin, block.start_pos + block.length - begin
        before = self.sampler.shifts and lo > 0
        rows = self._call(begin, begin + hi, list(range(lo - before, hi)), 0)
        if before:
            return rows[1:], rows[0]
        return rows, self._last if block.start_pos > 0 else rows[0]  # position 0 has no row before it

    def _fill(self, block: DiffusionBlock) -> Iterator[Step]:
        passes = max(1, self.num_iterations)
        for i in range(passes):
            if block.is_confirmed or self.stopped:
                return
            started = time.perf_counter()
            begin, end = self._stored, block.start_pos + block.length
            rows, before = self._block_rows(block)
            output = self.sampler.sample(self.manager, rows, before if self.sampler.shifts else None,
                                         fill=i == passes - 1)
            accepted = [Accepted(block.start_pos + p, token, confidence) for p, token, confidence in
                        zip(output.accepted_local_positions, output.accepted_tokens, output.confidences)]
            for a in accepted:
                self.canvas[a.position] = a.id
            self.stopped = self._has_stopped(block)
            yield Step(block.block_id, begin, end - begin, begin, accepted, (time.perf_counter() - started) * 1e3)

    def _has_stopped(self, block: DiffusionBlock) -> bool:
        """Whether a stop id is known and everything before it."""
        for i in range(block.length):
            if i not in block.tokens:
                return False
            if block.tokens[i] in self.stop_ids:
                return True
        return False
