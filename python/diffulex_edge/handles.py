"""Lifetimes of native objects: what belongs to what, and when each is closed.

A finalizer may run in any thread at any moment, also inside the code below. So nothing here takes a lock: sets and flags
are changed in one step each, in an order that is safe whoever comes in between.

What is open when the interpreter ends is not closed: daemon threads may still be inside, and the memory goes with the
process.
"""
import contextlib
import weakref
from ctypes import byref, c_void_p
from typing import Any, Callable, Dict, Iterator, Set, Tuple

__all__ = ["Handle", "Turn"]


class Handle:
    """A native object, closed by close() or when nothing refers to it any more, and not before what was opened in it.

    name     for messages: "the workspace"
    open     called with a place for the pointer while the parents are kept open
    close    called with the pointer, once
    parents  must outlive it: they refuse to be closed meanwhile, and it keeps them from being collected
    """

    def __init__(self, name: str, open: Callable[[Any], None], close: Callable[[c_void_p], None],
                 *parents: "Handle") -> None:
        self.name = name
        self.pointer = c_void_p()
        self._users: Set[object] = set()
        self._closing = False
        self._retired = False
        mark = object()
        entered = []
        try:
            for parent in parents:
                parent._enter(mark)
                entered.append(parent)
            open(byref(self.pointer))
            self._finalizer = weakref.finalize(self, _finish, close, self.pointer, parents, mark)
        except BaseException:   # Ctrl-C among them, which is raised behind the call that opened it
            made = getattr(self, "_finalizer", None)
            if made is not None:
                made()
                raise
            if self.pointer:
                close(self.pointer)
            for parent in entered:
                parent._leave(mark)
            raise
        self._finalizer.atexit = False

    @property
    def closed(self) -> bool:
        """Nobody can begin to use it any more."""
        return self._retired or not self._finalizer.alive

    def _enter(self, mark: object) -> None:
        self._users.add(mark)
        if self._closing or self.closed:
            self._leave(mark)
            raise ValueError(f"{self.name} is closed")

    def _leave(self, mark: object) -> None:
        self._users.discard(mark)
        if self._retired and not self._users:
            self._finalizer()

    @contextlib.contextmanager
    def use(self) -> Iterator[c_void_p]:
        """The pointer, for calls: nobody closes it meanwhile. ValueError when it is closed."""
        mark = object()
        try:
            self._enter(mark)   # inside, so that no exception comes in between (Ctrl-C)
            yield self.pointer
        finally:
            self._leave(mark)

    def close(self, refusal: str = "") -> None:
        """Closes it; twice is fine. RuntimeError, with the words of `refusal`, while others need it."""
        if self.closed:
            return
        self._closing = True
        if self._users:
            self._closing = False
            raise RuntimeError(f"{self.name} is in use{refusal and ': ' + refusal}")
        self._finalizer()

    def retire(self) -> None:
        """Closes it for everybody who comes, and itself as soon as those who use it are done: at once, mostly."""
        self._retired = True
        if not self._users:
            self._finalizer()


def _finish(close: Callable[[c_void_p], None], pointer: c_void_p, parents: Tuple[Handle, ...], mark: object) -> None:
    close(pointer)
    for parent in parents:
        parent._leave(mark)


class Turn:
    """For one thread at a time: a second one gets a RuntimeError, and so does a call from within the first. Not a lock,
    because an exception between taking that and the `with` block (Ctrl-C) would keep it taken."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._user: Dict[str, object] = {}

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """For the time of a with statement."""
        mark = object()
        try:
            if self._user.setdefault("now", mark) is not mark:
                raise RuntimeError(self._refusal)
            yield
        finally:
            if self._user.get("now") is mark:
                self._user.clear()
