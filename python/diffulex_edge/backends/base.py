"""Backends by name, and what they are configured with."""
import abc
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Type

__all__ = ["BackendConfig", "BackendRegistry", "EdgeBackend", "ExportResult"]


@dataclasses.dataclass
class ExportResult:
    """The bytes of a .pte, or why there are none."""

    success: bool
    buffer: Optional[bytes] = None
    error_message: Optional[str] = None
    metadata: Dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class BackendConfig:
    """quantize, quantization_mode: for checkpoint folders; quantised means dynamic int8. max_seq_len: their context
    length. The other fields are kept for the caller."""

    backend_name: str = "xnnpack"
    quantize: bool = False
    quantization_mode: str = "weight_only"
    memory_planning: str = "greedy"
    max_memory_mb: int = 2048
    max_seq_len: int = 2048
    batch_size: int = 1
    backend_options: Dict[str, Any] = dataclasses.field(default_factory=dict)


def positions(max_seq_len: int) -> int:
    """max_seq_len for export_checkpoint: the default of 2048 means at most that many, as 0 does there."""
    return 0 if max_seq_len == 2048 else max_seq_len


class EdgeBackend(abc.ABC):
    """export(model, example_inputs) -> ExportResult. A checkpoint folder needs no inputs."""

    name = ""

    def __init__(self, config: Optional[BackendConfig] = None) -> None:
        self.config = config or BackendConfig(backend_name=self.name)

    @abc.abstractmethod
    def is_available(self) -> bool:
        """Whether what it needs is installed."""

    def get_metadata(self) -> Dict[str, Any]:
        """What the backend is and can do."""
        return {"name": self.name, "available": self.is_available(), "config": dataclasses.asdict(self.config),
                "supported_platforms": [], "supports_quantization": False, **self._details()}

    def _details(self) -> Dict[str, Any]:
        return {}

    def export(self, model: Any, example_inputs: Any = None) -> ExportResult:
        """Lowers a torch module; failures are in the result."""
        try:
            buffer = self._buffer(model, example_inputs)
        except Exception as error:  # noqa: BLE001 - the result carries it
            return ExportResult(False, error_message=str(error))
        return ExportResult(True, buffer, metadata={
            "backend": self.name, "quantized": self.config.quantize, "buffer_size_bytes": len(buffer),
            "quantization_mode": "dynamic" if self.config.quantize else None})

    def _buffer(self, model: Any, example_inputs: Any) -> bytes:
        from ..export.native import export_backends
        there = ", ".join(b.name for b in export_backends())
        raise RuntimeError(f"{self.name.upper()} is not available: this build exports to {there}")


class BackendRegistry:
    """Backend classes by name."""

    _classes: Dict[str, Type[EdgeBackend]] = {}

    @classmethod
    def register(cls, name: str, backend_class: Type[EdgeBackend]) -> None:
        """Makes a backend known by its name."""
        cls._classes[name] = backend_class

    @classmethod
    def get(cls, name: str) -> Optional[Type[EdgeBackend]]:
        """The class of that name; None when there is none."""
        return cls._classes.get(name)

    @classmethod
    def list_backends(cls) -> Dict[str, Type[EdgeBackend]]:
        """Names of all that are known."""
        return dict(cls._classes)

    @classmethod
    def create(cls, name: str, config: Optional[BackendConfig] = None) -> Optional[EdgeBackend]:
        """A backend, or None when there is none of that name."""
        backend = cls.get(name)
        return None if backend is None else backend(config)


class XNNPACKBackend(EdgeBackend):
    """CPUs: x86-64 and 64-bit Arm."""

    name = "xnnpack"

    def is_available(self) -> bool:
        from .. import _native
        from ..errors import DlxError
        try:
            return hasattr(_native.library().cdll, "dlx_export")
        except DlxError:
            return False

    def _details(self) -> Dict[str, Any]:
        from ..export.native import export_schemes
        schemes = export_schemes() if self.is_available() else []
        return {"supported_platforms": ["arm64", "x86_64"], "supports_quantization": True,
                "quantization": [s.name for s in schemes if self.name in s.backends]}

    def _buffer(self, model: Any, example_inputs: Any) -> bytes:
        if not isinstance(model, (str, os.PathLike)):
            return _official(model, example_inputs)
        from ..export.native import export_checkpoint
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pte"
            export_checkpoint(model, path, quantization="int8-dynamic" if self.config.quantize else "none",
                              max_seq_len=positions(self.config.max_seq_len))
            return path.read_bytes()


def _official(model: Any, example_inputs: Any) -> bytes:
    """A torch module, lowered to XNNPACK by the official exporter."""
    try:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise ImportError(f"exporting a torch module needs the packages torch and executorch: {error}") from error
    with torch.no_grad():
        exported = torch.export.export(model.eval(), tuple(example_inputs))
        return bytes(to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


class QNNBackend(EdgeBackend):
    """Qualcomm's processors: not part of this build."""

    name = "qnn"

    def is_available(self) -> bool:
        return False

    def _details(self) -> Dict[str, Any]:
        return {"supported_soc": [], "requires_sdk": True}


class CoreMLBackend(EdgeBackend):
    """Apple's processors: not part of this build."""

    name = "coreml"

    def is_available(self) -> bool:
        return False

    def _details(self) -> Dict[str, Any]:
        return {"compute_units": []}


for _class in (XNNPACKBackend, QNNBackend, CoreMLBackend):
    BackendRegistry.register(_class.name, _class)
