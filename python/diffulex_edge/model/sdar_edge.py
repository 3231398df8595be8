"""The original's module path of SDAREdge."""
from .base import SDAREdgeConfig
from .modules import SDAREdge

__all__ = ["SDAREdge", "SDAREdgeConfig"]
