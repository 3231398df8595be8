"""The exporter under the original's names: checkpoint folders by our own exporter, torch modules by the official
one."""
import os
import time
from pathlib import Path
from typing import Any, Dict

from ..backends import BackendConfig, BackendRegistry, EdgeBackend
from ..backends.base import LibraryBackend, scheme_of
from .config import BackendType, ExportConfig, ExportResult, QuantizationType
from .native import export_checkpoint

__all__ = ["DiffuLexExporter", "export_model"]

_MIB = 1024 * 1024
_MODES = {QuantizationType.DYNAMIC_INT8: "dynamic", QuantizationType.STATIC_INT8: "static"}


class DiffuLexExporter:
    """export(model, example_inputs) -> ExportResult, as config says."""

    def __init__(self, config: ExportConfig) -> None:
        self.config = config

    def _backend(self) -> EdgeBackend:
        name = self.config.backend.value
        backend = BackendRegistry.create(name, BackendConfig(
            backend_name=name, memory_planning=self.config.memory_planning, max_seq_len=self.config.max_seq_len,
            quantize=self.config.quantization is not QuantizationType.NONE,
            quantization_mode=_MODES.get(self.config.quantization, "weight_only"),
            backend_options=dict(self.config.backend_options)))
        if backend is None:
            raise RuntimeError(f"Backend '{name}' not found. Available: {sorted(BackendRegistry.list_backends())}")
        return backend

    def export(self, model: Any = None, example_inputs: Any = None) -> ExportResult:
        """Writes config.output_path.

        model            a checkpoint folder, "org/name", or None for config.checkpoint_path; or a torch module, which
                         the official exporter lowers (packages torch and executorch, for "coreml" coremltools as well)
        example_inputs   for torch modules: a tuple

        RuntimeError for a backend that does not exist; every other failure is in the result.
        """
        backend = self._backend()
        started = time.perf_counter()
        try:
            if model is None:
                model = self.config.checkpoint_path
            if model is None:
                raise ValueError("there is nothing to export: give a checkpoint folder or a torch module")
            self.config.output_path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(model, (str, os.PathLike)) and isinstance(backend, LibraryBackend):
                export_checkpoint(model, self.config.output_path, **self._keywords(backend))
            else:
                self._export_by(backend, model, example_inputs)
        except Exception as error:  # noqa: BLE001 - the result carries it
            return ExportResult(False, self.config.output_path, 0.0, time.perf_counter() - started, str(error))
        size = self.config.output_path.stat().st_size / _MIB
        return ExportResult(True, self.config.output_path, size, time.perf_counter() - started)

    def _keywords(self, backend: LibraryBackend) -> Dict[str, Any]:
        kind = self.config.quantization
        calibrates = kind is QuantizationType.STATIC_INT8 or (
            backend.name == "qnn" and kind not in (QuantizationType.NONE, QuantizationType.FP16))
        return {**backend.keywords(), "quantization": scheme_of(backend.name, kind.value),
                "calibration": self.config.calibration_data_path if calibrates else None, **backend.options()}

    def _export_by(self, backend: EdgeBackend, model: Any, example_inputs: Any) -> None:
        if self.config.quantization is not QuantizationType.NONE:
            raise ValueError(f"quantization {self.config.quantization.value} is for checkpoint folders; a torch module "
                             "is exported as it is")
        result = backend.export(model, example_inputs)
        if not result.success:
            raise RuntimeError(result.error_message)
        self.config.output_path.write_bytes(result.buffer)

    def get_backend_info(self) -> Dict[str, Any]:
        """Metadata of the configured backend, and whether it can be used here."""
        return self._backend().get_metadata()


def export_model(model: Any, example_inputs: Any = None, output_path: Any = "model.pte", backend: str = "xnnpack",
                 quantization: str = "none", **kwargs: Any) -> ExportResult:
    """DiffuLexExporter in one call; further keywords are fields of ExportConfig."""
    words = {"int8": "dynamic_int8", "int8-dynamic": "dynamic_int8", "int8_dynamic": "dynamic_int8",
             "int8-static": "static_int8", "int8_static": "static_int8",
             "int8-weight-only": "weight_only_int8", "int8_weight_only": "weight_only_int8"}
    config = ExportConfig(output_path=Path(output_path), backend=BackendType(backend),
                          quantization=QuantizationType(words.get(quantization, quantization)), **kwargs)
    return DiffuLexExporter(config).export(model, example_inputs)
