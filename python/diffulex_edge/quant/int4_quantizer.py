"""int4 under the original's names."""
import dataclasses
import warnings
from pathlib import Path
from typing import Any, Optional, Tuple, Union

from .. import arguments
from .._native import PathLike
from ..errors import UnsupportedError
from .base import (
    BaseQuantizer,
    QuantizationConfig,
    QuantizationDtype,
    QuantizationResult,
    check_parts,
    export_quantised,
    hinted,
    own_mode,
    with_keywords,
)

__all__ = ["INT4Config", "INT4Quantizer", "apply_int4_quantization", "is_int4_available"]


@dataclasses.dataclass
class INT4Config:
    """Settings of int4 alone.

    group_size       weights of a row that share a scale: 32, 64 or 128; 0: the whole row
    weight_only      False: activations are quantised while running, as far as the backend does that. With "xnnpack" 4-bit
                     weights are multiplied with no others
    preserve_layers  parts of names of layers that stay float32, as QuantizationConfig.exclude_layers
    """

    group_size: int = 32
    weight_only: bool = False
    preserve_layers: Tuple[str, ...] = ("lm_head", "embedding")

    def __post_init__(self) -> None:
        arguments.a_number("group_size", self.group_size)
        arguments.a_flag("weight_only", self.weight_only)
        check_parts("preserve_layers", self.preserve_layers)
        if self.group_size not in (0, 32, 64, 128):
            raise ValueError(f"group_size is {self.group_size!r}; there are 32, 64, 128, and 0 for one scale a row")
        if self.weight_only:
            raise ValueError("4-bit weights are multiplied with quantised activations only; leave weight_only out, or take "
                             "int8 with mode weight_only for float activations")


hinted(INT4Config)


class INT4Quantizer(BaseQuantizer):
    """Weights of layers in 4 bits, activations quantised while running, or as the backend has them. Takes an INT4Config as
    well."""

    dtype = QuantizationDtype.INT4

    def settings(self, config: Union[QuantizationConfig, INT4Config, None]) -> QuantizationConfig:
        """As config says, in int4."""
        if isinstance(config, INT4Config):
            return QuantizationConfig(dtype=QuantizationDtype.INT4, group_size=config.group_size,
                                      exclude_layers=tuple(config.preserve_layers))
        return super().settings(config)

    def quantize(self, model: PathLike, config: Union[QuantizationConfig, INT4Config, None] = None, *,
                 output_path: Optional[PathLike] = None, fallback_to_int8: bool = False,
                 **keywords: Any) -> QuantizationResult:
        """As BaseQuantizer.quantize. UnsupportedError names a layer whose rows the groups do not divide.

        fallback_to_int8   such a checkpoint becomes int8 instead (int8-dynamic); the result says so
        """
        arguments.a_flag("fallback_to_int8", fallback_to_int8)
        backend = keywords.get("backend", "xnnpack")
        if config is None or isinstance(config, INT4Config):
            config = self.settings(config)
            config = dataclasses.replace(config, mode=own_mode(backend, config.mode))
        config, keywords = with_keywords(config, keywords)
        settings = self.settings(config)
        try:
            return export_quantised(model, settings, output_path, keywords)
        except UnsupportedError as error:
            if not fallback_to_int8 or "does not fit" not in str(error):
                raise
            reason = str(error)
        settings = dataclasses.replace(settings, dtype=QuantizationDtype.INT8)
        result = export_quantised(model, settings, output_path, keywords)
        result.fallback_used = True
        result.warnings.append(f"{settings.scheme_for(backend)} was written in place of int4: {reason}")
        return result


def apply_int4_quantization(model: PathLike, group_size: int = 32, fallback_to_int8: bool = True, *,
                            output_path: Optional[PathLike] = None, **keywords: Any) -> Path:
    """INT4Quantizer's file. A checkpoint that the groups do not fit becomes int8-dynamic, with a UserWarning, unless
    fallback_to_int8 is False: then it is an UnsupportedError."""
    result = INT4Quantizer().quantize(model, INT4Config(group_size), output_path=output_path,
                                      fallback_to_int8=fallback_to_int8, **keywords)
    for sentence in result.warnings:
        warnings.warn(sentence, stacklevel=2)
    return result.model


def is_int4_available() -> bool:
    """True."""
    return True
