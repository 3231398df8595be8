"""Exporting: export_checkpoint, and the original system's `export` package."""
from .config import BackendType, ExportConfig, ExportResult, QuantizationType
from .exporter import DiffuLexExporter, export_model
from .native import ExportStatistics, export_checkpoint

__all__ = [
    "BackendType", "DiffuLexExporter", "ExportConfig", "ExportResult", "ExportStatistics", "QuantizationType",
    "export_checkpoint", "export_model",
]
