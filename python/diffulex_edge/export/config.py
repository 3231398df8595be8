"""Export settings under the original's names."""
import dataclasses
import enum
import json
from pathlib import Path
from typing import Any, Dict, Optional

__all__ = ["BackendType", "ExportConfig", "ExportResult", "QuantizationType"]


class BackendType(enum.Enum):
    """Backends by name. "xnnpack", "coreml" and "qnn" are there."""

    XNNPACK = "xnnpack"
    QNN = "qnn"
    COREML = "coreml"
    MPS = "mps"
    VULKAN = "vulkan"
    REFERENCE = "reference"


class QuantizationType(enum.Enum):
    """Quantisations by name."""

    NONE = "none"
    DYNAMIC_INT8 = "dynamic_int8"
    STATIC_INT8 = "static_int8"
    WEIGHT_ONLY_INT8 = "weight_only_int8"
    FP16 = "fp16"
    INT4 = "int4"


@dataclasses.dataclass
class ExportConfig:
    """What to export and how.

    A checkpoint states its own sizes: vocab_size to intermediate_size describe nothing but what the caller wants to
    note down. output_path, backend, backend_options, quantization, checkpoint_path, calibration_data_path and max_seq_len
    have an effect.

    max_seq_len      positions of the program
    checkpoint_path  a Hugging Face checkpoint folder, exported when no model is given
    calibration_data_path  lines of JSON (docs/EXPORT.md) that ranges of activations are taken from, where they have some
                     (static_int8, and all integers with "qnn"); None: the model writes them
    backend_options  as in BackendConfig: compute_unit, minimum_deployment_target, soc_model, keywords of export_checkpoint
    """

    max_seq_len: int = 2048
    vocab_size: int = 32000
    hidden_size: int = 512
    num_layers: int = 4
    num_heads: int = 8
    num_kv_heads: Optional[int] = None       # num_heads
    head_dim: Optional[int] = None           # hidden_size // num_heads
    intermediate_size: Optional[int] = None  # 4 * hidden_size
    backend: BackendType = BackendType.REFERENCE
    quantization: QuantizationType = QuantizationType.NONE
    use_kv_cache: bool = True
    output_path: Any = Path("model.pte")
    checkpoint_path: Any = None
    calibration_data_path: Any = None
    enable_delegate: bool = True
    memory_planning: str = "greedy"
    constant_methods: Optional[Dict[str, Any]] = None
    dynamic_shapes: bool = False
    backend_options: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backend = BackendType(self.backend)
        self.quantization = QuantizationType(self.quantization)
        for name in ("output_path", "checkpoint_path", "calibration_data_path"):
            if getattr(self, name) is not None:
                setattr(self, name, Path(getattr(self, name)))
        self.backend_options = self.backend_options or {}
        self.num_kv_heads = self.num_kv_heads or self.num_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_heads
        self.intermediate_size = self.intermediate_size or 4 * self.hidden_size

    def get_model_config(self) -> Dict[str, Any]:
        """The sizes, by name."""
        names = ("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim",
                 "intermediate_size", "max_seq_len")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """As JSON text."""
        def plain(value: Any) -> Any:
            if isinstance(value, enum.Enum):
                return value.value
            return str(value) if isinstance(value, Path) else value
        return json.dumps({f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ExportConfig":
        """From the text of to_json."""
        return cls(**json.loads(text))


@dataclasses.dataclass(repr=False)
class ExportResult:
    """What became of an export. file_size_mb is in units of 2**20 bytes; None where nothing was written."""

    success: bool
    output_path: Optional[Path] = None
    file_size_mb: Optional[float] = None
    compilation_time_sec: Optional[float] = None
    error_message: Optional[str] = None

    def __repr__(self) -> str:
        if self.success:
            size = "" if self.file_size_mb is None else f", size={self.file_size_mb:.1f}MB"
            return f"ExportResult(success=True, path={self.output_path}{size})"
        return f"ExportResult(success=False, error={self.error_message})"
