"""Fast-dLLM v2: shifted, one threshold."""
import dataclasses

from ._block import BlockSampler, SampleOutput

__all__ = ["FastdLLMV2SampleOutput", "FastdLLMV2Sampler"]


@dataclasses.dataclass
class FastdLLMV2SampleOutput(SampleOutput):
    """What one call of FastdLLMV2Sampler accepted."""


class FastdLLMV2Sampler(BlockSampler):
    """Accepts what is surer than the threshold, and the surest token in any case."""

    model_type = "fast_dllm_v2"
    shifts = True
    per_block = False
    output_class = FastdLLMV2SampleOutput

    def __init__(self, mask_token_id: int = 126336, threshold: float = 0.95, temperature: float = 1.0, top_k: int = 0,
                 top_p: float = 1.0, margin_confidence: bool = False, neg_entropy: bool = False) -> None:
        super().__init__(mask_token_id, threshold, temperature, top_k, top_p, margin_confidence, neg_entropy)
