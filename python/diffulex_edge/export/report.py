"""What quantisation costs a checkpoint: dlx_quantize_report as a Python function."""
import json
from ctypes import c_void_p
from typing import Any, Callable, Dict, Iterable, List, Optional, Union

from .. import _native, arguments, running
from .._native import PathLike
from .calls import call_with_stages, either, tell

__all__ = ["quantize_report"]


def quantize_report(model_path: PathLike, *, max_bytes: int = 0, max_error: float = 0.0,
                    forms: Union[str, Iterable[str]] = (), recipe_path: Optional[PathLike] = None, rounding: Optional[str] = None,
                    calibration: Optional[PathLike] = None, calibration_samples: int = 0, calibration_length: int = 0,
                    calibration_seed: int = 0, count: int = 0, length: int = 0, seed: int = 0,
                    work_folder: Optional[PathLike] = None, model_type: Optional[str] = None, block_size: int = 0,
                    mask_id: int = 0, stage: Optional[Callable[[str, int, int], Optional[bool]]] = None,
                    notice: Optional[Callable[[str], Any]] = None) -> Dict[str, Any]:
    """What each form costs each weight of a checkpoint's layers, and the best mix of forms under a budget:
    {"rounding", "tensors": [{"name", "tensor", "shape", "forms": [{"form", "bytes", "error"}, ...]}, ...], "mix": {"bytes",
    "error", "recipe"}}; "error" is |y' - y|^2 / |y|^2, y being a layer's answers to calibration data in float32 and y' those
    that the form computes, on quantised activations where it has them; that of the mix is the mean over weights.

    max_bytes, max_error   a budget, one of them, for these weights with their scales; without one there is no mix
    forms          names of the forms that the mix may choose, ["int8-dynamic", "int4-g32", "fp16"]; none: all
    recipe_path    where the mix goes, as a file for export_checkpoint's quantization_config
    rounding       how weights become int8 or int4, as for export_checkpoint: what errors are of, and the mix is for
    calibration    a file of JSON lines (docs/EXPORT.md); None: the model writes it
    calibration_samples, calibration_length   how many samples, and most tokens of one; 0: 64, 256
    calibration_seed   of masks, and of what the model writes
    work_folder    where what was measured lies until the report is complete, so that one that was interrupted goes on; None:
                   recipe_path and ".work", or, without one, nowhere
    stage          called as stage(name, done, total) in rows; total 0: not known; returning False cancels (Cancelled)
    notice         called behind the report with a sentence about a work folder that was not gone on with; None: a UserWarning

    count, length and seed are older names of calibration_samples, calibration_length and calibration_seed. model_type,
    block_size and mask_id are those of export_checkpoint. LimitError, before anything is measured, when no mix meets the
    budget.
    """
    options = _native.QuantizeReportOptions()
    number, path = arguments.a_number, arguments.a_path
    options.model_path = _native.encode_path(path("model_path", model_path, needed=True))
    options.model_type = _native.optional_text(arguments.a_text("model_type", model_type) or None)
    options.block_size, options.mask_id = number("block_size", block_size), number("mask_id", mask_id)
    options.calibration = _native.optional_path(path("calibration", calibration))
    options.count = number("calibration_samples", either("calibration_samples", calibration_samples, "count", count))
    options.length = number("calibration_length", either("calibration_length", calibration_length, "length", length))
    options.seed = number("calibration_seed", either("calibration_seed", calibration_seed, "seed", seed), (1 << 63) - 1)
    options.rounding = _native.optional_text(arguments.a_text("rounding", rounding) or None)
    options.work_folder = _native.optional_path(path("work_folder", work_folder))
    options.max_bytes, options.max_error = number("max_bytes", max_bytes, (1 << 64) - 1), arguments.a_real("max_error", max_error)
    words = arguments.texts("forms", forms, "names of forms", "a name of forms")
    options.forms = ",".join(words).encode() if words else None
    options.recipe_path = _native.optional_path(path("recipe_path", recipe_path))
    arguments.a_function("stage", stage)
    arguments.a_function("notice", notice)
    notices: List[bytes] = []
    report: Dict[str, Any] = running.run(lambda job: _report(job, options, stage, notices))
    tell(notices, notice)
    return report


def _report(job: running.Job, options: _native.QuantizeReportOptions,
            stage: Optional[Callable[[str, int, int], Optional[bool]]], notices: List[bytes]) -> Dict[str, Any]:
    options.notice = _native.NOTICE_FN(lambda _, sentence: notices.append(sentence))
    out = c_void_p()
    call_with_stages(job, "dlx_quantize_report", [options], [out], stage)
    return dict(json.loads(_native.take_bytes(out).decode()))
