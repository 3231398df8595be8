"""Quantising in one call, under the original's names: checkpoint folders become .pte files."""
import dataclasses
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, List, Optional, Sequence, Union

from .. import arguments
from .._native import PathLike
from ..errors import FormatError, UnsupportedError
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
    kind = QuantizationConfig(dtype=dtype).dtype  # type: ignore[arg-type]
    stand_in = keywords.get("scheme", keywords.get("quantization")) is not None
    usual = QuantizationMode.DYNAMIC if kind is QuantizationDtype.INT4 or stand_in else QuantizationMode.WEIGHT_ONLY
    if mode is None and not stand_in and kind in (QuantizationDtype.INT8, QuantizationDtype.INT4):
        usual = own_mode(keywords.get("backend", "xnnpack"), usual)
    config = QuantizationConfig(dtype=kind, mode=usual if mode is None else mode)  # type: ignore[arg-type]
    return BaseQuantizer().quantize(model, config, output_path=output_path, **keywords).model


def verify_quantization_accuracy(original_model: PathLike, quantized_model: Union[PathLike, QuantizationResult],
                                 example_inputs: Union[PathLike, Sequence[Sequence[int]], Any, None] = None,
                                 tolerance: float = 0.01) -> bool:
    """Whether a file finds nearly the same words as its checkpoint in float32: the mean KL divergence of its distributions
    over masked tokens is at most tolerance, in nats. validate_export gives the figures.

    original_model   the checkpoint folder, or "org/name"
    quantized_model  the .pte that was made of it
    example_inputs   a file of samples, as for validate_export; or lists of token ids, numpy's and torch's included; None: the
                     model writes them

    TypeError and ValueError name what is wrong: ids that are no whole numbers or none of this model, a tolerance that is no
    number from 0 on, a file of another checkpoint.
    """
    from ..export.validation import validate_export
    file = quantized_model.model if isinstance(quantized_model, QuantizationResult) else quantized_model
    arguments.a_path("original_model", original_model, needed=True)
    arguments.a_path("quantized_model", file, needed=True)
    tolerance = arguments.a_real("tolerance", tolerance)
    if isinstance(example_inputs, bytes):
        example_inputs = os.fsdecode(example_inputs)
    if example_inputs is None or isinstance(example_inputs, (str, os.PathLike)):
        return validate_export(original_model, file, validation=example_inputs).kl_mean <= tolerance
    rows = _ids_of(example_inputs)
    with tempfile.TemporaryDirectory(prefix="diffulex-edge-") as folder:
        samples = Path(folder) / "samples.jsonl"
        samples.write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in rows), "utf-8")
        try:
            return validate_export(original_model, file, validation=samples).kl_mean <= tolerance
        except FormatError as error:
            said = re.sub(r"^'.*samples\.jsonl', line (\d+): ", lambda line: f"example_inputs[{int(line[1]) - 1}]: ", str(error))
            if said == str(error):
                raise
            raise ValueError(said) from None


def _ids_of(example_inputs: Any) -> List[List[int]]:
    """Lists of ids, of lists, or of arrays and tensors of whole numbers."""
    rows = example_inputs.tolist() if hasattr(example_inputs, "tolist") else example_inputs
    if not isinstance(rows, (list, tuple)):
        raise TypeError(f"example_inputs is of type {type(example_inputs).__name__}; expected a file of samples, or lists of "
                        "token ids")
    if not rows:
        raise ValueError("example_inputs is empty; None has the model write samples")
    result = []
    for i, row in enumerate(rows):
        ids = row.tolist() if hasattr(row, "tolist") else row
        if not isinstance(ids, (list, tuple)):
            raise TypeError(f"example_inputs[{i}] is {row!r}, of type {type(row).__name__}; expected a list of token ids, as "
                            "each entry is a sample")
        result.append([arguments.a_number(f"example_inputs[{i}][{k}]", each) for k, each in enumerate(ids)])
    return result


def get_model_compression_ratio(original_model: PathLike, quantized_model: Union[PathLike, QuantizationResult]) -> float:
    """Bytes of the first one's weights over those of the second one's; checkpoint folders (as float32) or .pte files."""
    return get_model_size_info(original_model)[2] / get_model_size_info(quantized_model)[2]
