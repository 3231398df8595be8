"""Quantising in one call, under the original's names: checkpoint folders become .pte files."""
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any, Optional, Sequence, Union

from .._native import PathLike
from ..errors import UnsupportedError
from .base import (
    BaseQuantizer,
    QuantizationConfig,
    QuantizationDtype,
    QuantizationMode,
    QuantizationResult,
    get_model_size_info,
    own_mode,
)

__all__ = ["QuantizedEmbedding", "QuantizedLinear", "WeightOnlyQuantizer", "get_model_compression_ratio", "quantize_model",
           "quantize_to_fp16", "quantize_to_int8", "verify_quantization_accuracy"]


class _NotAModule:
    def __init__(self, *_: Any, **__: Any) -> None:
        raise UnsupportedError(f"{type(self).__name__} is a torch module of the original system, which this package does "
                               "not have; quantize_model makes a .pte of a checkpoint folder, with quantised layers")

    @classmethod
    def from_float(cls, *_: Any, **__: Any) -> Any:
        """UnsupportedError, which says what there is instead."""
        return cls()


class QuantizedLinear(_NotAModule):
    """The original's linear module; making one is refused."""


class QuantizedEmbedding(_NotAModule):
    """The original's embedding module; making one is refused."""


class WeightOnlyQuantizer(BaseQuantizer):
    """Weights in int8 or float16, activations in float32: int8-weight-only and fp16.

    The mode dynamic of a configuration, which is its default, counts as weight_only; static is a ValueError, as are other
    types than int8 and fp16.
    """

    def settings(self, config: Optional[QuantizationConfig]) -> QuantizationConfig:
        """As config says, with float activations."""
        config = QuantizationConfig() if config is None else config
        if config.dtype not in (QuantizationDtype.INT8, QuantizationDtype.FP16):
            raise ValueError(f"unsupported dtype for weight-only: {config.dtype.value}; there are int8 and fp16")
        if config.mode is QuantizationMode.STATIC:
            raise ValueError("WeightOnlyQuantizer leaves activations float, and the mode is static; INT8Quantizer does that")
        if config.mode is QuantizationMode.QAT:
            return config
        return dataclasses.replace(config.as_dtype(config.dtype), mode=QuantizationMode.WEIGHT_ONLY)


def quantize_to_fp16(model: PathLike, *, output_path: Optional[PathLike] = None, **keywords: Any) -> Path:
    """quantize_model with dtype "fp16"."""
    return quantize_model(model, "fp16", output_path=output_path, **keywords)


def quantize_to_int8(model: PathLike, mode: str = "weight_only", *, output_path: Optional[PathLike] = None,
                     **keywords: Any) -> Path:
    """quantize_model with dtype "int8"."""
    return quantize_model(model, "int8", mode, output_path=output_path, **keywords)


def quantize_model(model: PathLike, dtype: Union[str, QuantizationDtype] = "int8", mode: Optional[str] = None, *,
                   output_path: Optional[PathLike] = None, **keywords: Any) -> Path:
    """Exports a checkpoint folder as one quantised .pte and returns its path. The head stays float32, as in the original;
    QuantizationConfig says more.

    model        a checkpoint folder, or "org/name" in the Hugging Face cache
    dtype        "fp16"; "int8"; "int4", in groups of 32 with activations quantised while running; "fp32", which is none
    mode         "weight_only", "dynamic" or "static"; None: "weight_only", and for int4, which has no other, "dynamic"; with
                 another backend than "xnnpack" the one it has
    output_path  None: NAME-SCHEME.pte in the current folder
    keywords     of export_checkpoint (max_seq_len, calibration_samples, progress, ...) and settings of QuantizationConfig
                 (group_size, exclude_layers, ...); scheme, or quantization, stands in for dtype and mode

    ValueError for other words.
    """
    kind = QuantizationDtype(dtype.lower() if isinstance(dtype, str) else dtype)
    usual = QuantizationMode.DYNAMIC if kind is QuantizationDtype.INT4 else QuantizationMode.WEIGHT_ONLY
    if mode is None and kind in (QuantizationDtype.INT8, QuantizationDtype.INT4):
        usual = own_mode(keywords.get("backend", "xnnpack"), usual)
    config = QuantizationConfig(dtype=kind, mode=usual if mode is None else mode)  # type: ignore[arg-type]
    return BaseQuantizer().quantize(model, config, output_path=output_path, **keywords).model


def verify_quantization_accuracy(original_model: PathLike, quantized_model: Union[PathLike, QuantizationResult],
                                 example_inputs: Union[PathLike, Sequence[Sequence[int]], None] = None,
                                 tolerance: float = 0.01) -> bool:
    """Whether a file finds nearly the same words as its checkpoint in float32: the mean KL divergence of its distributions
    over masked tokens is at most tolerance, in nats. validate_export gives the figures.

    original_model   the checkpoint folder, or "org/name"
    quantized_model  the .pte that was made of it
    example_inputs   a file of samples, as for validate_export; or lists of token ids; None: the model writes them
    """
    from ..export.validation import validate_export
    file = quantized_model.model if isinstance(quantized_model, QuantizationResult) else quantized_model
    if example_inputs is None or not isinstance(example_inputs, (list, tuple)):
        return validate_export(original_model, file, validation=example_inputs).kl_mean <= tolerance  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="diffulex-edge-") as folder:
        samples = Path(folder) / "samples.jsonl"
        samples.write_text("".join(json.dumps({"ids": [int(i) for i in ids]}) + "\n" for ids in example_inputs), "utf-8")
        return validate_export(original_model, file, validation=samples).kl_mean <= tolerance


def get_model_compression_ratio(original_model: PathLike, quantized_model: Union[PathLike, QuantizationResult]) -> float:
    """Bytes of the first one's weights over those of the second one's; checkpoint folders (as float32) or .pte files."""
    return get_model_size_info(original_model)[2] / get_model_size_info(quantized_model)[2]
