"""Quantisation settings: the configuration of the original's `quant` package. Quantising happens while a checkpoint is
exported; there are no quantised torch modules here."""
from .base import QuantizationConfig, QuantizationDtype, QuantizationMode

__all__ = ["QuantizationConfig", "QuantizationDtype", "QuantizationMode"]
