"""Backends: the original system's `backends` package, over the exporter of this one."""
from .base import BackendConfig, BackendRegistry, EdgeBackend, ExportResult
from .coreml_backend import CoreMLBackend
from .qnn_backend import QNNBackend
from .xnnpack_backend import XNNPACKBackend

__all__ = [
    "BackendConfig", "BackendRegistry", "CoreMLBackend", "EdgeBackend", "ExportResult", "QNNBackend", "XNNPACKBackend",
]
