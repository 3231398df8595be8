"""int8 under the original's names."""
from pathlib import Path
from typing import Any, Optional

from .._native import PathLike
from .base import BaseQuantizer, QuantizationDtype

__all__ = ["INT8Quantizer", "convert_to_int8", "is_int8_available"]


class INT8Quantizer(BaseQuantizer):
    """Weights in int8, activations as the configuration's mode says: int8-dynamic, -static or -weight-only."""

    dtype = QuantizationDtype.INT8


def convert_to_int8(model: PathLike, *, output_path: Optional[PathLike] = None, **keywords: Any) -> Path:
    """INT8Quantizer's file with its defaults, int8-dynamic."""
    return INT8Quantizer().quantize(model, output_path=output_path, **keywords).model


def is_int8_available() -> bool:
    """True."""
    return True
