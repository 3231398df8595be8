"""What users open: a handle, and a with statement that closes it with all that was opened in it."""
from typing import Any, Iterator, Optional, TypeVar

from . import running
from .handles import Handle, only_here

__all__ = ["Opened"]

_Self = TypeVar("_Self", bound="Opened")


class Opened:
    """Something with a handle. Leaving its with statement calls `_end`, which for some kinds is their close()."""

    _handle: Handle

    __reduce_ex__ = only_here

    def _parts(self) -> "Iterator[Opened]":
        """What was opened in it, in the order in which that is ended."""
        return iter(())

    def _end(self) -> None:
        """Closes it with its parts; what is at work ends first."""
        running.end(self)
        for part in self._parts():
            part._end()
        self._handle.retire()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        running.leave(self._end, error)
