"""Exceptions: one class for every status of the C library.

Each class also derives from the Python exception that callers expect for that kind of failure, so `except ValueError`
and `except FileNotFoundError` work as usual, and `except DlxError` catches everything that comes from the library. The
message is the library's own sentence.
"""
from typing import Dict, Type

__all__ = [
    "Cancelled", "DlxError", "FileMissingError", "FolderError", "FormatError", "InternalError", "InvalidArgumentError", "IoError",
    "LibraryNotFoundError", "LimitError", "OutOfMemoryError", "STATUS_CLASSES", "UnsupportedError", "error_from_status",
]


class DlxError(Exception):
    """Anything the library reports. `status` is its status number (see include/diffulex_edge/status.h)."""

    status: int = 8


class InvalidArgumentError(DlxError, ValueError):
    """An argument is wrong (DLX_E_INVALID)."""

    status = 1


class FormatError(DlxError, RuntimeError):
    """The bytes of a file contradict its format (DLX_E_FORMAT)."""

    status = 2


class UnsupportedError(DlxError, RuntimeError):
    """Well-formed, but this build cannot do it (DLX_E_UNSUPPORTED)."""

    status = 3


class IoError(DlxError, OSError):
    """The operating system refused (DLX_E_IO); its words are in the message."""

    status = 4


class FileMissingError(IoError, FileNotFoundError):
    """A file that was named does not exist."""


class FolderError(IoError, IsADirectoryError):
    """A folder was named where a file is needed."""


class LibraryNotFoundError(DlxError, OSError):
    """The shared library libdiffulex_edge was not found or is of another version."""

    status = 4


class OutOfMemoryError(DlxError, MemoryError):
    """Memory for what was asked for could not be had (DLX_E_NOMEM)."""

    status = 5


class LimitError(DlxError, ValueError):
    """Does not fit the context, the vocabulary or a buffer (DLX_E_LIMIT)."""

    status = 6


class Cancelled(DlxError):
    """A progress callback asked to stop an export (DLX_E_CANCELLED). A decode that is cancelled raises nothing: it ends
    with finish_reason "cancelled"."""

    status = 7


class InternalError(DlxError, RuntimeError):
    """A broken invariant of the library (DLX_E_INTERNAL); please report it."""

    status = 8


STATUS_CLASSES: Dict[int, Type[DlxError]] = {
    1: InvalidArgumentError, 2: FormatError, 3: UnsupportedError, 4: IoError, 5: OutOfMemoryError, 6: LimitError,
    7: Cancelled, 8: InternalError,
}


# How the library's sentences about what is not there can be told.
_MISSING = ("No such file or directory", "is neither a folder nor a name", "is no folder and not in")


def error_from_status(status: int, message: str) -> DlxError:
    """The exception for a status number other than 0; unknown numbers are internal errors."""
    kind = STATUS_CLASSES.get(status, InternalError)
    if kind is IoError and any(words in message for words in _MISSING):
        kind = FileMissingError
    error = kind(message)
    error.status = status
    return error
