"""A file against the checkpoint that it was made of: dlx_validate as a Python function."""
from typing import Callable, NamedTuple, Optional, Tuple

from .. import _native, arguments, running
from .._native import PathLike
from .calls import call_with_stages, either

__all__ = ["Validation", "options_of", "validate_export", "validation_of"]


class Validation(NamedTuple):
    """How far a file is from its checkpoint in float32, over the same masked samples."""

    kl_mean: float                   # sum p log(p / q) in nats, over masked tokens; p: the checkpoint's distribution
    kl_most: float                   # of the worst one
    agreement: float                 # share of masked tokens for which both find the same word likeliest
    samples: int
    rows: int                        # masked tokens that were compared
    worst_layer: int
    layer_errors: Tuple[float, ...]  # error of each layer, on the checkpoint's hidden states, over what it adds to them


def validate_export(model_path: PathLike, file_path: PathLike, *, validation: Optional[PathLike] = None,
                    validation_samples: int = 0, validation_length: int = 0, validation_seed: int = 0,
                    samples: Optional[PathLike] = None, count: int = 0, length: int = 0, seed: int = 0,
                    stage: Optional[Callable[[str, int, int], Optional[bool]]] = None, model_type: Optional[str] = None,
                    block_size: int = 0, mask_id: int = 0) -> Validation:
    """Runs a .pte of export_checkpoint and its checkpoint in float32 over the same masked samples.

    model_path     the checkpoint, as for export_checkpoint
    file_path      the file that was made of it, with whatever options
    validation     a file of JSON lines, as for calibration (docs/EXPORT.md); None: the model writes them
    validation_samples, validation_length   how many samples, and most tokens of one; 0: 20, and 256 or what a call of the
                   file takes
    validation_seed   of masks, and of what the model writes
    model_type, block_size, mask_id   as export_checkpoint was told for that file
    stage          called as stage(name, done, total) in rows; total 0: not known; returning False cancels (Cancelled)

    samples, count, length and seed are older names of validation, validation_samples, validation_length and validation_seed.
    ValueError where the file was made of another checkpoint: by facts that differ, which it names, or by weights.
    """
    options = options_of(either("validation", validation, "samples", samples, None),
                         either("validation_samples", validation_samples, "count", count),
                         either("validation_length", validation_length, "length", length),
                         either("validation_seed", validation_seed, "seed", seed))
    options.model_path = _native.encode_path(arguments.a_path("model_path", model_path, needed=True))
    options.file_path = _native.encode_path(arguments.a_path("file_path", file_path, needed=True))
    options.model_type = _native.optional_text(arguments.a_text("model_type", model_type) or None)
    arguments.a_function("stage", stage)
    options.block_size = arguments.a_number("block_size", block_size)
    options.mask_id = arguments.a_number("mask_id", mask_id)
    found: Validation = running.run(lambda job: _validate(job, options, stage))
    return found


def options_of(samples: Optional[PathLike], count: int, length: int, seed: int) -> _native.ValidateOptions:
    """The library's options, without paths."""
    options = _native.ValidateOptions()
    options.samples = _native.optional_path(arguments.a_path("validation", samples))
    options.count = arguments.a_number("validation_samples", count)
    options.length = arguments.a_number("validation_length", length)
    options.seed = arguments.a_number("validation_seed", seed, (1 << 63) - 1)
    return options


def validation_of(result: _native.Validation) -> Validation:
    """What the library found; its memory is freed."""
    errors = tuple(result.layer_error[i] for i in range(result.layers))
    _native.library().dlx_free(result.layer_error)
    return Validation(result.kl_mean, result.kl_most, result.agreement, result.samples, result.rows, result.worst_layer,
                      errors)


def _validate(job: running.Job, options: _native.ValidateOptions,
              stage: Optional[Callable[[str, int, int], Optional[bool]]]) -> Validation:
    result = _native.Validation()
    call_with_stages(job, "dlx_validate", [options], [result], stage)
    return validation_of(result)
