"""Calls of the library that say how far they are in stages: dlx_export, dlx_validate, dlx_quantize_report."""
import warnings
from ctypes import byref
from typing import Any, Callable, List, Optional

from .. import _native, running

__all__ = ["Stage", "call_with_stages", "tell"]

Stage = Callable[[str, int, int], Optional[bool]]


def call_with_stages(job: running.Job, function: str, options: Any, out: Any, stage: Optional[Stage],
                     failure: Optional[List[BaseException]] = None) -> None:
    """function(options, out, error) of the library. What stage raises comes out of it; so does what else is put into
    failure, which other callbacks of the call share."""
    failure = [] if failure is None else failure
    keep = failure.append
    # Always installed, so that Ctrl-C is noticed in a stage.
    options.stage = _native.STAGE_FN(
        lambda _, name, done, total: job.allows(keep, stage, lambda: (name.decode(), done, total)))
    error = _native.Error()
    status = getattr(_native.library(), function)(byref(options), byref(out), byref(error))
    if failure:
        raise failure[0]
    _native.check(status, error)


def tell(notices: List[bytes], notice: Optional[Callable[[str], Any]]) -> None:
    """What a call of the library noticed, to whoever asked for it; else warnings, of the line that called the package."""
    for sentence in notices:
        if notice is None:
            warnings.warn(sentence.decode(), stacklevel=3)
        else:
            notice(sentence.decode())
