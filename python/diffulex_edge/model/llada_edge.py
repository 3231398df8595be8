"""The original's module path of LLaDAEdge."""
from .base import LLaDAEdgeConfig
from .modules import LLaDAEdge

__all__ = ["LLaDAEdge", "LLaDAEdgeConfig"]
