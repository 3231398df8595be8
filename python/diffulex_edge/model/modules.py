"""The names of the original's torch modules. There are none here: models are checkpoints and .pte files, and whoever
makes one of these learns what to do instead."""
from typing import Any

from ..errors import UnsupportedError

__all__ = ["DreamEdge", "FastDLLMv2Edge", "FastdLLMV2Edge", "LLaDAEdge", "SDAREdge"]


class _NotAModule:
    def __init__(self, *_: Any, **__: Any) -> None:
        raise UnsupportedError(
            f"{type(self).__name__} is a torch module of the original system, which this package does not have; export "
            "the checkpoint with diffulex_edge.export_checkpoint and open the .pte with diffulex_edge.Model, or give "
            "DiffusionEngine.from_model a module of your own")


class FastDLLMv2Edge(_NotAModule):
    """Fast-dLLM v2."""


class DreamEdge(_NotAModule):
    """Dream."""


class LLaDAEdge(_NotAModule):
    """LLaDA."""


class SDAREdge(_NotAModule):
    """SDAR."""


FastdLLMV2Edge = FastDLLMv2Edge
