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
    """A description of a quantisation. What export_checkpoint does of it is `quantization`; weights are left out by its
    own keywords (docs/QUANTIZATION.md)."""

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
        """The word for export_checkpoint; ValueError for what it does not have."""
        words = {
            (QuantizationDtype.INT8, QuantizationMode.DYNAMIC): "int8-dynamic",
            (QuantizationDtype.INT8, QuantizationMode.STATIC): "int8-static",
            (QuantizationDtype.INT8, QuantizationMode.WEIGHT_ONLY): "int8-weight-only",
            (QuantizationDtype.INT4, QuantizationMode.DYNAMIC): "int4",
        }
        if self.dtype is QuantizationDtype.FP32:
            return "none"
        if self.dtype is QuantizationDtype.FP16:
            return "fp16"
        if (self.dtype, self.mode) in words:
            return words[self.dtype, self.mode]
        raise ValueError(f"{self.dtype.value} with mode {self.mode.value} cannot be exported; there are fp32, fp16, int8 "
                         "with mode dynamic, static or weight_only, and int4 with mode dynamic")
