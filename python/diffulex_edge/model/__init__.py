"""Records and containers of the original's `model` package. Models are checkpoints and .pte files here, not modules."""
from .base import (
                   DreamEdgeConfig,
                   FastDLLMv2EdgeConfig,
                   FastdLLMV2EdgeConfig,
                   LLaDAEdgeConfig,
                   ModelConfig,
                   SDAREdgeConfig,
                   detect_model_type,
)
from .kv_cache import KVCache, KVCacheConfig, create_kv_caches
from .modules import DreamEdge, FastDLLMv2Edge, FastdLLMV2Edge, LLaDAEdge, SDAREdge

__all__ = [
    "DreamEdge",
    "DreamEdgeConfig",
    "FastDLLMv2Edge",
    "FastDLLMv2EdgeConfig",
    "FastdLLMV2Edge",
    "FastdLLMV2EdgeConfig",
    "KVCache",
    "KVCacheConfig",
    "LLaDAEdge",
    "LLaDAEdgeConfig",
    "ModelConfig",
    "SDAREdge",
    "SDAREdgeConfig",
    "create_kv_caches",
    "detect_model_type",
]
