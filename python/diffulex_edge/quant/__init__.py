"""Quantisation under the original's names. Quantising happens while a checkpoint folder is exported: functions take the folder
and return a .pte; there are no quantised torch modules here."""
from .base import (
    BaseQuantizer,
    QuantizationConfig,
    QuantizationDtype,
    QuantizationMode,
    QuantizationResult,
    get_model_size_info,
)
from .core_quant import (
    QuantizedEmbedding,
    QuantizedLinear,
    WeightOnlyQuantizer,
    get_model_compression_ratio,
    quantize_model,
    quantize_to_fp16,
    quantize_to_int8,
    verify_quantization_accuracy,
)
from .fp16_quantizer import FP16Quantizer, convert_to_fp16, is_fp16_available
from .int4_quantizer import INT4Config, INT4Quantizer, apply_int4_quantization, is_int4_available
from .int8_quantizer import INT8Quantizer, convert_to_int8, is_int8_available

__all__ = [
    "BaseQuantizer", "FP16Quantizer", "INT4Config", "INT4Quantizer", "INT8Quantizer", "QuantizationConfig",
    "QuantizationDtype", "QuantizationMode", "QuantizationResult", "QuantizedEmbedding", "QuantizedLinear",
    "WeightOnlyQuantizer", "apply_int4_quantization", "convert_to_fp16", "convert_to_int8", "get_model_compression_ratio",
    "get_model_size_info", "is_fp16_available", "is_int4_available", "is_int8_available", "quantize_model",
    "quantize_to_fp16", "quantize_to_int8", "verify_quantization_accuracy",
]
