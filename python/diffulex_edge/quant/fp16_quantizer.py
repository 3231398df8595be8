"""float16 under the original's names."""
from pathlib import Path
from typing import Any, Optional

from .._native import PathLike
from .base import BaseQuantizer, QuantizationDtype

__all__ = ["FP16Quantizer", "convert_to_fp16", "is_fp16_available"]


class FP16Quantizer(BaseQuantizer):
    """Weights in float16, activations in float32."""

    dtype = QuantizationDtype.FP16


def convert_to_fp16(model: PathLike, *, output_path: Optional[PathLike] = None, **keywords: Any) -> Path:
    """FP16Quantizer's file with its defaults."""
    return FP16Quantizer().quantize(model, output_path=output_path, **keywords).model


def is_fp16_available() -> bool:
    """True."""
    return True
