"""Backends: the original system's `backends` package. "xnnpack" is the one that exports."""
from .base import BackendConfig, BackendRegistry, CoreMLBackend, EdgeBackend, ExportResult, QNNBackend, XNNPACKBackend

__all__ = [
    "BackendConfig", "BackendRegistry", "CoreMLBackend", "EdgeBackend", "ExportResult", "QNNBackend", "XNNPACKBackend",
]
