"""The original's module path of DreamEdge."""
from .base import DreamEdgeConfig
from .modules import DreamEdge

__all__ = ["DreamEdge", "DreamEdgeConfig"]
