"""The original's module path of FastDLLMv2Edge."""
from .base import FastDLLMv2EdgeConfig, FastdLLMV2EdgeConfig
from .modules import FastDLLMv2Edge, FastdLLMV2Edge

__all__ = ["FastDLLMv2Edge", "FastDLLMv2EdgeConfig", "FastdLLMV2Edge", "FastdLLMV2EdgeConfig"]
