"""Samplers: of one token, of a block's masked positions, and the pieces they are made of."""
from .base import sample_tokens, top_k_logits, top_p_logits
from .models import (
                     SAMPLER_REGISTRY,
                     BlockSampler,
                     DreamSampleOutput,
                     DreamSampler,
                     FastdLLMV2SampleOutput,
                     FastdLLMV2Sampler,
                     LLaDASampleOutput,
                     LLaDASampler,
                     SDARSampleOutput,
                     SDARSampler,
                     get_sampler_class,
)
from .shift import NoShiftLogitsSampler, ShiftLogitsSampler
from .token import GreedySampler, Sampler, TemperatureSampler, TopKSampler, TopPSampler, get_sampler

__all__ = [
    "BlockSampler", "DreamSampleOutput", "DreamSampler", "FastdLLMV2SampleOutput", "FastdLLMV2Sampler", "GreedySampler",
    "LLaDASampleOutput", "LLaDASampler", "NoShiftLogitsSampler", "SAMPLER_REGISTRY", "SDARSampleOutput", "SDARSampler",
    "Sampler", "ShiftLogitsSampler", "TemperatureSampler", "TopKSampler", "TopPSampler", "get_sampler",
    "get_sampler_class", "sample_tokens", "top_k_logits", "top_p_logits",
]
