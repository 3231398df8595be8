"""Arguments of functions that are told apart by name: what is wrong with one is a TypeError or ValueError that names it."""
import difflib
import math
import operator
import os
from typing import Any, Iterable, List, Optional

from .errors import InvalidArgumentError

__all__ = ["a_flag", "a_function", "a_number", "a_path", "a_real", "a_text", "known_keywords", "texts"]

_INT32 = (1 << 31) - 1


def _wrong(name: str, value: Any, expected: str) -> TypeError:
    shown = repr(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    return TypeError(f"{name} is {shown}, of type {type(value).__name__}; expected {expected}")


def a_number(name: str, value: Any, most: int = _INT32) -> int:
    """A whole number from 0 on, numpy's included."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise _wrong(name, value, "a whole number") from None
    if not 0 <= number <= most:
        raise InvalidArgumentError(f"{name} is {number}; expected 0 to {most}")
    return number


def a_real(name: str, value: Any) -> float:
    """A number from 0 on."""
    if isinstance(value, (bool, str, bytes)):
        raise _wrong(name, value, "a number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _wrong(name, value, "a number") from None
    if math.isnan(number) or number < 0:
        raise InvalidArgumentError(f"{name} is {number}; expected a number from 0 on")
    return number


def a_flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def a_text(name: str, value: Any) -> Optional[str]:
    """A word, or None."""
    if value is not None and not isinstance(value, str):
        raise _wrong(name, value, "a text, or None")
    if value is not None and "\0" in value:
        raise InvalidArgumentError(f"{name} holds a NUL character")
    return value


def texts(name: str, value: Any, expected: str, each: str) -> List[str]:
    """A text, or several, as a list; `each` is what one of them is called."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Iterable) or isinstance(words, bytes):
        raise TypeError(f"{name} is {value!r}; expected {expected}")
    return [str(a_text(each, word) or "") for word in words]


def a_path(name: str, value: Any, needed: bool = False) -> Any:
    """The name of a file or folder, or, where it is not needed, None."""
    if (needed or value is not None) and not isinstance(value, (str, bytes, os.PathLike)):
        raise _wrong(name, value, "the name of a file or folder" if needed else "the name of a file, or None")
    return value


def a_function(name: str, value: Any) -> Any:
    """Something to call, or None."""
    if value is not None and not callable(value):
        raise _wrong(name, value, "a function, or None")
    return value


def known_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """TypeError for a keyword that there is nothing for, with the one that was meant."""
    known = sorted(set(known))
    for name in given:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise TypeError(f"{function} has no keyword '{name}'{hint}")
