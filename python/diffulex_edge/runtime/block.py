"""Blocks of a diffusion decode and the list that manages them.

A block is a run of consecutive positions that become tokens together; until then a position holds the mask. Blocks are
worked on one after the other: pending, active, confirmed. The names of both interfaces of the original are here: the
newer one (create_blocks, confirm_token, get_active_block) and the older one, in which all blocks are active at once
(create_block, accept_token, get_active_blocks).
"""
import dataclasses
import enum
from typing import Dict, List, Optional, Sequence, Tuple

__all__ = ["BlockStatus", "DiffusionBlock", "DiffusionBlockManager"]

_DEFAULT_MASK = 126336


class BlockStatus(enum.Enum):
    """Where a block stands: not begun, worked on, or done."""

    PENDING = "pending"
    ACTIVE = "active"
    CONFIRMED = "confirmed"


@dataclasses.dataclass(init=False)
class DiffusionBlock:
    """Positions start_pos .. start_pos + length - 1.

    Without a block_id the block stands for itself and is active from the start, as in the older interface.
    """

    block_id: int
    start_pos: int
    length: int
    status: BlockStatus = BlockStatus.PENDING
    tokens: Dict[int, int] = dataclasses.field(default_factory=dict)
    mask_token_id: int = _DEFAULT_MASK
    accept_threshold: float = 0.95

    def __init__(self, block_id: Optional[int] = None, start_pos: int = 0, length: int = 0,
                 status: Optional[BlockStatus] = None, tokens: Optional[Dict[int, int]] = None,
                 mask_token_id: int = _DEFAULT_MASK, accept_threshold: float = 0.95,
                 is_active: Optional[bool] = None, accepted_token_ids: Optional[Dict[int, int]] = None,
                 pre_block_complete: bool = False) -> None:
        if status is None:
            active = block_id is None if is_active is None else is_active
            status = BlockStatus.ACTIVE if active else BlockStatus.PENDING
        self.block_id = 0 if block_id is None else block_id
        self.start_pos = start_pos
        self.length = length
        self.status = status
        self.tokens = dict(tokens or accepted_token_ids or {})
        self.mask_token_id = mask_token_id
        self.accept_threshold = accept_threshold
        self.pre_block_complete = pre_block_complete  # whether the block before it is complete

    # ---- state

    @property
    def is_confirmed(self) -> bool:
        """Whether every position is filled."""
        return len(self.tokens) >= self.length

    @property
    def is_complete(self) -> bool:
        """Whether every position has a token."""
        return self.is_confirmed

    @property
    def is_active(self) -> bool:
        """Whether it is worked on."""
        return self.status is BlockStatus.ACTIVE

    @property
    def confirmed_count(self) -> int:
        """Positions that have a token."""
        return len(self.tokens)

    @property
    def accepted_token_ids(self) -> Dict[int, int]:
        """{local position: token}, the block's own."""
        return self.tokens

    def activate(self) -> None:
        """It is worked on from now on."""
        self.status = BlockStatus.ACTIVE

    def confirm(self) -> None:
        """ValueError unless every position is filled."""
        if not self.is_confirmed:
            raise ValueError(f"block {self.block_id} has {self.length - len(self.tokens)} masked positions left; fill "
                             "them before confirming it")
        self.status = BlockStatus.CONFIRMED

    # ---- tokens

    def _check(self, local_pos: int) -> None:
        if not 0 <= local_pos < self.length:
            raise IndexError(f"position {local_pos} is outside the block of {self.length}")

    def confirm_token(self, local_pos: int, token_id: int) -> bool:
        """Fills a position; a position that is filled already keeps its token. Returns is_confirmed."""
        self._check(local_pos)
        self.tokens.setdefault(local_pos, token_id)
        return self.is_confirmed

    def accept_token(self, local_pos: int, token_id: int) -> None:
        """Fills a position; ValueError when it is filled already. A complete block is no longer active."""
        self._check(local_pos)
        if local_pos in self.tokens:
            raise ValueError(f"position {local_pos} has been filled already")
        self.tokens[local_pos] = token_id
        if self.is_confirmed:
            self.status = BlockStatus.CONFIRMED

    # ---- positions

    def get_local_mask_positions(self) -> List[int]:
        """Positions in the block that have no token."""
        return [i for i in range(self.length) if i not in self.tokens]

    def get_global_mask_positions(self) -> List[int]:
        """Absolute positions that have no token."""
        return [self.start_pos + i for i in self.get_local_mask_positions()]

    @property
    def global_mask_token_ids(self) -> List[int]:
        """Absolute positions that are masked (the older interface's name)."""
        return self.get_global_mask_positions()

    def get_global_pos(self, local_pos: int) -> int:
        """The absolute position of one in the block."""
        self._check(local_pos)
        return self.start_pos + local_pos

    def get_sequence_tokens(self) -> List[int]:
        """Token or mask of every position."""
        return [self.tokens.get(i, self.mask_token_id) for i in range(self.length)]


class DiffusionBlockManager:
    """The blocks of one generation. `blocks` is the list, `mask_token_id` what new blocks are filled with."""

    def __init__(self, mask_token_id: int = _DEFAULT_MASK) -> None:
        self.mask_token_id = mask_token_id
        self.blocks: List[DiffusionBlock] = []
        self.current_block_idx = 0
        self._block_id_counter = 0

    def __len__(self) -> int:
        return len(self.blocks)

    def reset(self) -> None:
        """Forgets all blocks."""
        self.blocks = []
        self.current_block_idx = 0
        self._block_id_counter = 0

    # ---- one block after the other

    def create_blocks(self, prompt_len: int, max_new_tokens: int, block_size: int,
                      accept_threshold: float = 0.95) -> None:
        """Blocks behind a prompt; the last one may be short, the first one is activated."""
        self.reset()
        for start in range(0, max_new_tokens, block_size):
            length = min(block_size, max_new_tokens - start)
            self.blocks.append(DiffusionBlock(len(self.blocks), prompt_len + start, length,
                                              mask_token_id=self.mask_token_id, accept_threshold=accept_threshold))
        self._block_id_counter = len(self.blocks)
        if self.blocks:
            self.blocks[0].activate()

    def get_active_block(self) -> Optional[DiffusionBlock]:
        """The first block that is worked on; None when there is none."""
        if self.current_block_idx < len(self.blocks):
            block = self.blocks[self.current_block_idx]
            return block if block.is_active else None
        return None

    def confirm_current_block(self) -> bool:
        """Confirms the active block if it is full and activates the next one. True while there is work: the block is
        not full yet, or there is a next one."""
        block = self.get_active_block()
        if block is None:
            return False
        if not block.is_confirmed:
            return True
        block.confirm()
        self.current_block_idx += 1
        if self.current_block_idx >= len(self.blocks):
            return False
        self.blocks[self.current_block_idx].activate()
        return True

    def has_active_block(self) -> bool:
        """Whether a block is worked on."""
        return self.get_active_block() is not None

    def get_confirmed_token_count(self) -> int:
        """Filled positions of all blocks."""
        return sum(block.confirmed_count for block in self.blocks)

    def get_confirmed_tokens_list(self) -> List[int]:
        """Tokens of the confirmed blocks."""
        return [token for block in self.blocks if block.status is BlockStatus.CONFIRMED
                for token in block.get_sequence_tokens()]

    def build_sequence(self, prompt: Sequence[int]) -> List[int]:
        """Prompt, tokens of confirmed blocks, masks for the others."""
        sequence = list(prompt)
        for block in self.blocks:
            confirmed = block.status is BlockStatus.CONFIRMED
            sequence += block.get_sequence_tokens() if confirmed else [block.mask_token_id] * block.length
        return sequence

    # ---- all blocks at once

    def create_block(self, start_pos: int, length: int, accept_threshold: float = 0.95) -> int:
        """Adds an active block; returns its id."""
        if length <= 0 or start_pos < 0:
            raise ValueError(f"a block needs a length of at least 1 and a start of at least 0; got {length} and "
                             f"{start_pos}")
        block_id = self._block_id_counter
        self._block_id_counter += 1
        complete = bool(self.blocks) and self.blocks[-1].is_complete
        self.blocks.append(DiffusionBlock(block_id, start_pos, length, BlockStatus.ACTIVE,
                                          mask_token_id=self.mask_token_id, accept_threshold=accept_threshold,
                                          pre_block_complete=complete))
        return block_id

    def get_block(self, block_id: int) -> Optional[DiffusionBlock]:
        """The block with that id; None when there is none."""
        return self.blocks[block_id] if 0 <= block_id < len(self.blocks) else None

    def get_active_blocks(self) -> List[Tuple[int, DiffusionBlock]]:
        """[(id, block)]"""
        return [(i, block) for i, block in enumerate(self.blocks) if block.is_active]

    def has_active_blocks(self) -> bool:
        """Whether any block is worked on."""
        return any(block.is_active for block in self.blocks)

    def update_block(self, block_id: int, accepted_positions: Sequence[int], accepted_tokens: Sequence[int]) -> None:
        """Fills local positions of a block. IndexError for an unknown block, ValueError when the lists differ in
        length."""
        block = self.get_block(block_id)
        if block is None:
            raise IndexError(f"there is no block {block_id}")
        if len(accepted_positions) != len(accepted_tokens):
            raise ValueError(f"{len(accepted_positions)} positions were given {len(accepted_tokens)} tokens")
        for position, token in zip(accepted_positions, accepted_tokens):
            block.accept_token(position, token)
        if block.is_complete and block_id + 1 < len(self.blocks):
            self.blocks[block_id + 1].pre_block_complete = True

    def get_all_mask_positions(self) -> List[int]:
        """Absolute positions without a token, of all blocks that are worked on."""
        return [position for block in self.blocks for position in block.get_global_mask_positions()]
