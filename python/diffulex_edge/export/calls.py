"""Calls of the library that say how far they are in stages: dlx_export, dlx_validate, dlx_quantize_report; and what their
Python functions share."""
import warnings
from ctypes import byref
from typing import Any, Callable, List, Optional, Sequence, TypeVar

from .. import _native, running

__all__ = ["Stage", "call_with_stages", "either", "tell"]

Stage = Callable[[str, int, int], Optional[bool]]
_T = TypeVar("_T")


def call_with_stages(job: running.Job, function: str, options: Sequence[Any], outs: Sequence[Any], stage: Optional[Stage],
                     failure: Optional[List[BaseException]] = None) -> None:
    """function(*options, *outs, error) of the library; each of the options has a stage. What stage raises comes out of it;
    so does what else is put into failure, which other callbacks of the call share."""
    failure = [] if failure is None else failure
    keep = failure.append
    # Always installed, so that Ctrl-C is noticed in a stage.
    on_stage = _native.STAGE_FN(
        lambda _, name, done, total: job.allows(keep, stage, lambda: (name.decode(), done, total)))
    for structure in options:
        structure.stage = on_stage
    error = _native.Error()
    status = getattr(_native.library(), function)(*map(byref, options), *map(byref, outs), byref(error))
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


def either(name: str, value: _T, older: str, same: _T, default: Any = 0) -> _T:
    """A keyword's value, which may be given under its older name."""
    if value != default and same != default:
        raise ValueError(f"{older} is the older name of {name}; give one of them")
    return same if value == default else value
