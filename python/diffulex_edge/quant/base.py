"""Quantisation settings under the original's names."""
import dataclasses
import enum
from typing import Optional, Tuple

__all__ = ["QuantizationConfig", "QuantizationDtype", "QuantizationMode"]


class QuantizationDtype(enum.Enum):
    """Element types by name."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class QuantizationMode(enum.Enum):
    """Ways of quantising by name."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    WEIGHT_ONLY = "weight_only"
    QAT = "qat"


@dataclasses.dataclass
class QuantizationConfig:
    """A description of a quantisation. What export_checkpoint can do of it is `quantization`; layers cannot be left
    out: all linear layers, the head and the embedding table are quantised (docs/EXPORT.md)."""

    dtype: QuantizationDtype = QuantizationDtype.INT8
    mode: QuantizationMode = QuantizationMode.DYNAMIC
    exclude_layers: Tuple[str, ...] = ("lm_head", "norm", "embedding")
    preserve_precision_layers: Tuple[str, ...] = ("layernorm", "rmsnorm", "softmax")
    is_per_channel: bool = True
    is_qat: bool = False
    scheme: Optional[str] = None
    calibration_samples: int = 100
    preserve_activation_precision_layers: Tuple[str, ...] = ("lm_head",)

    def __post_init__(self) -> None:
        self.dtype = QuantizationDtype(self.dtype)
        self.mode = QuantizationMode(self.mode)
        if self.mode is QuantizationMode.QAT:
            self.is_qat = True

    @property
    def quantization(self) -> str:
        """The word for export_checkpoint: "none" or "int8-dynamic"; ValueError for what it does not have."""
        if self.dtype is QuantizationDtype.FP32:
            return "none"
        if self.dtype is QuantizationDtype.INT8 and self.mode is QuantizationMode.DYNAMIC:
            return "int8-dynamic"
        raise ValueError(f"{self.dtype.value} with mode {self.mode.value} cannot be exported; there are fp32, and int8 "
                         "with mode dynamic")
