"""Dream: shifted, a threshold a block."""
import dataclasses

from ._block import BlockSampler, SampleOutput

__all__ = ["DreamSampleOutput", "DreamSampler"]


@dataclasses.dataclass
class DreamSampleOutput(SampleOutput):
    """What one call of DreamSampler accepted."""


class DreamSampler(BlockSampler):
    """Accepts what is surer than the block's threshold; when nothing is and the block before is confirmed, the token of
    the highest confidence, which may be a margin or a negative entropy."""

    model_type = "dream"
    shifts = True
    per_block = True
    output_class = DreamSampleOutput

    def __init__(self, mask_token_id: int = 126336, temperature: float = 1.0, top_k: int = 0,
                 top_p: float = 1.0, margin_confidence: bool = False, neg_entropy: bool = False) -> None:
        super().__init__(mask_token_id, 0.95, temperature, top_k, top_p, margin_confidence, neg_entropy)
