"""Engines, blocks and samplers: the original system's `runtime` package."""
from .block import BlockStatus, DiffusionBlock, DiffusionBlockManager
from .config import DiffusionGenerationConfig, GenerationConfig
from .diffusion import DiffusionSampler, SampleOutput
from .engine import DiffusionEngine, InferenceEngine

__all__ = [
    "BlockStatus", "DiffusionBlock", "DiffusionBlockManager", "DiffusionEngine", "DiffusionGenerationConfig",
    "DiffusionSampler", "GenerationConfig", "InferenceEngine", "SampleOutput",
]
