"""Exporting: export_checkpoint, and the original system's `export` package."""
from .config import BackendType, ExportConfig, ExportResult, QuantizationType
from .exporter import DiffuLexExporter, export_model
from .native import (
    Backend,
    ExportStatistics,
    KvForm,
    Placement,
    Scheme,
    Soc,
    check_backend,
    export_backends,
    export_checkpoint,
    export_kv_forms,
    export_schemes,
    export_socs,
)
from .report import quantize_report
from .validation import Validation, validate_export

__all__ = [
    "Backend", "BackendType", "DiffuLexExporter", "ExportConfig", "ExportResult", "ExportStatistics",
    "KvForm", "Placement", "QuantizationType", "Scheme", "Soc", "Validation", "check_backend",
    "export_backends", "export_checkpoint", "export_kv_forms", "export_model", "export_schemes", "export_socs",
    "quantize_report", "validate_export",
]
