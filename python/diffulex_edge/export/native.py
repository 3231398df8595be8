"""Exporting with the C library: dlx_export as a Python function."""
import os
from ctypes import byref
from typing import Any, Callable, NamedTuple, Optional, Union

from .. import _native

__all__ = ["ExportStatistics", "export_checkpoint"]

PathLike = Union[str, "os.PathLike[str]"]


class ExportStatistics(NamedTuple):
    """What an export wrote."""

    file_bytes: int
    quantised_bytes: int     # int8 weights
    float_bytes: int         # constants that stayed float
    seconds: float
    quantised_tensors: int
    float_tensors: int


def export_checkpoint(model_path: PathLike, output_path: PathLike, *, backend: str = "xnnpack",
                      quantization: str = "none", model_type: Optional[str] = None, max_seq_len: int = 0,
                      max_rows: int = 0, block_size: int = 0,
                      progress: Optional[Callable[[int, int], Optional[bool]]] = None) -> ExportStatistics:
    """Exports a Hugging Face checkpoint folder as one .pte.

    model_path     checkpoint folder, or "org/name" looked up read-only in the Hugging Face cache
    output_path    written under a temporary name beside it, renamed when it is complete
    backend        "xnnpack"
    quantization   "none" or "int8-dynamic"
    model_type     family that overrides config.json: "llada", "dream", "sdar", "fast_dllm_v2"
    max_seq_len    positions of the program; 0: the checkpoint's, at most 2048
    max_rows       rows one call may run; 0: max_seq_len
    block_size     overrides the checkpoint's block length; 0: as in the files
    progress       called as progress(done, total) in bytes of output; returning False cancels (Cancelled)

    FileNotFoundError when there is no such checkpoint, ValueError for wrong arguments, RuntimeError (FormatError,
    UnsupportedError) for a checkpoint that is damaged or not covered, OSError when the file cannot be written. An
    existing file at output_path stays as it was on any failure.
    """
    library = _native.library()
    options = _native.ExportOptions()
    failure = []

    def on_progress(_: Any, done: int, total: int) -> bool:
        try:
            return progress is None or progress(done, total) is not False
        except BaseException as error:  # noqa: B902 - raised again behind the C call
            failure.append(error)
            return False

    # Always installed, so that Ctrl-C is noticed while weights are written.
    callback = _native.PROGRESS_FN(on_progress)
    options.model_path = _native.encode_path(model_path)
    options.output_path = _native.encode_path(output_path)
    options.backend = backend.encode()
    options.quantization = quantization.encode()
    options.model_type = model_type.encode() if model_type else None
    options.max_seq_len, options.max_rows, options.block_size = max_seq_len, max_rows, block_size
    options.progress = callback
    result = _native.ExportResult()
    error = _native.Error()
    status = library.dlx_export(byref(options), byref(result), byref(error))
    if failure:
        raise failure[0]
    _native.check(status, error)
    return ExportStatistics(*(getattr(result, name) for name in ExportStatistics._fields))
