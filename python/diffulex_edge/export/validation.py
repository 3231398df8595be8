"""A file against the checkpoint that it was made of: dlx_validate as a Python function."""
from typing import Callable, NamedTuple, Optional, Tuple

from .. import _native, running
from .._native import PathLike
from .calls import call_with_stages

__all__ = ["Validation", "validate_export"]


class Validation(NamedTuple):
    """How far a file is from its checkpoint in float32, over the same masked samples."""

    kl_mean: float                   # sum p log(p / q) in nats, over masked tokens; p: the checkpoint's distribution
    kl_most: float                   # of the worst one
    agreement: float                 # share of masked tokens for which both find the same word likeliest
    samples: int
    rows: int                        # masked tokens that were compared
    worst_layer: int
    layer_errors: Tuple[float, ...]  # error of each layer, on the checkpoint's hidden states, over what it adds to them


def validate_export(model_path: PathLike, file_path: PathLike, *, samples: Optional[PathLike] = None, count: int = 0,
                    length: int = 0, seed: int = 0,
                    stage: Optional[Callable[[str, int, int], Optional[bool]]] = None) -> Validation:
    """Runs a .pte of export_checkpoint and its checkpoint in float32 over the same masked samples.

    model_path     the checkpoint, as for export_checkpoint
    file_path      the file that was made of it, with whatever options
    samples        a file of JSON lines, as for calibration (docs/EXPORT.md); None: the model writes them
    count, length  how many samples, and most tokens of one; 0: 20, and 256 or what a call of the file takes
    seed           of masks, and of what the model writes
    stage          called as stage(name, done, total) in rows; total 0: not known; returning False cancels (Cancelled)
    """
    options = _native.ValidateOptions()
    options.model_path = _native.encode_path(model_path)
    options.file_path = _native.encode_path(file_path)
    options.samples = _native.optional_path(samples)
    options.count, options.length, options.seed = count, length, seed
    found: Validation = running.run(lambda job: _validate(job, options, stage))
    return found


def _validate(job: running.Job, options: _native.ValidateOptions,
              stage: Optional[Callable[[str, int, int], Optional[bool]]]) -> Validation:
    result = _native.Validation()
    call_with_stages(job, "dlx_validate", options, result, stage)
    errors = tuple(result.layer_error[i] for i in range(result.layers))
    _native.library().dlx_free(result.layer_error)
    return Validation(result.kl_mean, result.kl_most, result.agreement, result.samples, result.rows, result.worst_layer,
                      errors)
