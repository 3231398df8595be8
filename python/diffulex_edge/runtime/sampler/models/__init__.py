"""A sampler for each model family."""
from typing import Dict, Type

from ._block import BlockSampler
from .dream import DreamSampleOutput, DreamSampler
from .fast_dllm_v2 import FastdLLMV2SampleOutput, FastdLLMV2Sampler
from .llada import LLaDASampleOutput, LLaDASampler
from .sdar import SDARSampleOutput, SDARSampler

__all__ = [
    "BlockSampler", "DreamSampleOutput", "DreamSampler", "FastdLLMV2SampleOutput", "FastdLLMV2Sampler",
    "LLaDASampleOutput", "LLaDASampler", "SAMPLER_REGISTRY", "SDARSampleOutput", "SDARSampler", "get_sampler_class",
]

SAMPLER_REGISTRY: Dict[str, Type[BlockSampler]] = {
    "fast_dllm_v2": FastdLLMV2Sampler, "llada": LLaDASampler, "dream": DreamSampler, "sdar": SDARSampler,
}


def get_sampler_class(model_type: str) -> Type[BlockSampler]:
    """The sampler of a family; ValueError for names of no family."""
    if model_type not in SAMPLER_REGISTRY:
        raise ValueError(f"Unknown model_type: {model_type}. Available: {list(SAMPLER_REGISTRY)}")
    return SAMPLER_REGISTRY[model_type]
