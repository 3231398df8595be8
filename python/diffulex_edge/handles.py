"""Lifetimes of native objects: what belongs to what, and when each is closed.

A signal's exception (Ctrl-C) is raised in the main thread at whatever instruction of Python is about to run, and a finalizer
may run in any thread at any moment. So what must happen once, or together, is one call of a function of C, between whose
steps no instruction of Python lies: `once` makes such calls of functions of C. Nothing here takes a lock; sets of who uses
what change in one step each.

Python itself drops an exception that is raised while a finalizer or the callback of a weak reference runs ("Exception ignored
in"). So those of this package are functions of C as well: Finished has them called without an instruction of Python.

What is open when the interpreter ends is not closed: daemon threads may still be inside, and the memory goes with the
process.

A process that is forked off has copies of all that is open, but none of the threads: what computes with threads, or was being
used by one, is not used there, and not closed.
"""
import atexit
import collections
import ctypes
import itertools
import operator
import os
import weakref
from ctypes import byref, c_void_p
from functools import partial
from typing import Any, Callable, Deque, Dict, Generic, Iterator, List, NoReturn, Optional, Tuple, TypeVar

__all__ = ["Borrow", "Finished", "Handle", "Turn", "Use", "WeakRefs", "once", "only_here", "using"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_call = operator.methodcaller("__call__")
_sink: "Deque[Any]" = collections.deque(maxlen=0)
_keys = itertools.count()
_parents: "Dict[int, Tuple[_Native, ...]]" = {}     # of what is open
_open: "Dict[int, weakref.ref[_Native]]" = {}


def once(*functions: Callable[[], Any]) -> Callable[[], Any]:
    """A function that calls some of C, one after the other; when it is called again, or meanwhile, it does nothing. None may
    raise an exception."""
    calls = partial(_sink.extend, map(_call, iter(functions)))
    return partial(_sink.extend, map(_call, iter((calls,))))


def only_here(self: Any, protocol: Any = None) -> NoReturn:
    """As __reduce_ex__: a copy would be a second owner of one native object, and other processes have no such object."""
    raise TypeError(f"a {type(self).__name__} cannot be copied or pickled; open another one, in each process its own")


class Finished:
    """`finish`, a function of C that may be called at any time, is called when nothing refers to the object any more."""

    finish: Callable[[], Any] = bool    # which does nothing

    # A descriptor of C: a method of Python would be one more place where Python drops exceptions.
    __del__ = property(operator.attrgetter("finish"))


class _Native(Finished):
    """A native object, or the place for one. Its parents outlive it: they are referred to from outside what the garbage
    collector finds in a cycle, whose objects it finishes in any order."""

    def __init__(self, close: Callable[[c_void_p], Any], parents: "Tuple[_Native, ...]", inherited: bool) -> None:
        key = next(_keys)
        self.inherited = inherited
        self.left = False       # with the process that this one was forked from
        self.pointer = c_void_p()                   # closing NULL does nothing
        self.done: "Deque[bool]" = collections.deque()              # not empty: it is closed
        self.users: "Dict[int, Deque[bool]]" = {}   # who needs it, until those have something
        self.finish = once(partial(close, self.pointer), partial(self.done.append, True), partial(_parents.pop, key, None),
                           partial(_open.pop, key, None))
        _open[key] = weakref.ref(self)
        _parents[key] = parents
        for parent in parents:
            parent.add(self.done)

    def add(self, user: "Deque[bool]") -> None:
        """A user, until something is in what it gives."""
        for key, other in list(self.users.items()):
            if other:
                self.users.pop(key, None)
        self.users[next(_keys)] = user

    @property
    def in_use(self) -> bool:
        return not all(list(self.users.values()))


class Handle:
    """A native object, closed by close() or when nothing refers to it any more, and not before what was opened in it.

    name     for messages: "the workspace"
    open     called with a place for the pointer while the parents are kept open
    close    called with the pointer, once, or with NULL where there is none; a function of C
    parents  must outlive it: they refuse to be closed meanwhile, and it keeps them from being collected
    inherited   it has no threads, and none writes to it: processes that are forked off may use their copy
    """

    def __init__(self, name: str, open: Callable[[Any], None], close: Callable[[c_void_p], Any],
                 *parents: "Handle", inherited: bool = False) -> None:
        self.name = name
        self._closing = False
        self._retired = False
        self._native: Optional[_Native] = None
        native: Optional[_Native] = None
        try:
            native = _Native(close, tuple(parent._opened() for parent in parents), inherited)
            for parent in parents:
                parent._opened()    # still, and from here on until this one is closed
            open(byref(native.pointer))
            self._done = native.done
            self._native = native
        except BaseException:   # Ctrl-C among them, which is raised behind the call that opened it
            if native is not None:
                native.finish()
            raise

    @property
    def closed(self) -> bool:
        """Nobody can begin to use it any more."""
        return self._retired or bool(self._done)

    @property
    def freed(self) -> bool:
        """The native object is gone."""
        return bool(self._done)

    @property
    def pointer(self) -> c_void_p:
        """For calls that are made at once; see use."""
        return self._opened().pointer

    def _opened(self) -> _Native:
        native = self._native
        if native is None or self._closing or self.closed:
            raise ValueError(f"{self.name} is closed")
        if native.left:
            raise RuntimeError(f"{self.name} was opened before this process was forked off, and its threads are not here: "
                               "open it in this process, or start processes with multiprocessing's 'spawn'")
        return native

    def use(self) -> "Use":
        """A context manager that has the pointer, for calls: nobody closes it meanwhile. ValueError when it is closed."""
        return Use(self)

    def close(self, refusal: str = "") -> None:
        """Closes it; twice is fine. RuntimeError, with the words of `refusal`, while others need it."""
        native = self._native
        if native is None or self.closed:
            return
        try:
            self._closing = True
            if native.in_use and not native.left:
                raise RuntimeError(f"{self.name} is in use{refusal and ': ' + refusal}")
            native.finish()
            self._retired = True
            self._native = None
        finally:
            self._closing = False

    def retire(self) -> None:
        """Closes it for everybody who comes, and itself as soon as those who use it are done: at once, mostly."""
        self._retired = True
        native = self._native
        if native is not None and not native.in_use:
            native.finish()
        self._native = None     # those who use it refer to it


class Use(Finished):
    """See Handle.use. What needs to be let go of even where an exception comes in between calls `finish` in its `finally`,
    and leave() behind it; a with statement does both, but is a method of Python."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._native = native = handle._native
        if native is not None:
            self._key = next(_keys)
            self.finish = partial(native.users.pop, self._key, None)

    def __enter__(self) -> c_void_p:
        native = self._native
        if native is not None:
            native.users[self._key] = collections.deque()
        try:
            return self._handle._opened().pointer
        except (ValueError, RuntimeError):
            self.finish()
            raise

    def leave(self) -> None:
        """Behind `finish`: closes what was retired meanwhile."""
        native, self._native = self._native, None
        if native is not None and self._handle._retired and not native.in_use:
            native.finish()

    def __exit__(self, *_: Any) -> None:
        self.finish()
        self.leave()


class Turn:
    """For one thread at a time: a second one gets a RuntimeError, and so does a call from within the first. Not a lock,
    because an exception between taking that and the `with` block (Ctrl-C) would keep it taken."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._free: "Deque[bool]" = collections.deque((True,))  # whoever takes the item out has the turn

    def take(self) -> "_Taken":
        """A context manager. `finish` gives it back, too."""
        return _Taken(self)


class _Taken(Finished):
    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._held: List[bool] = []
        self.finish = partial(turn._free.extend, iter(self._held))  # nothing the second time: the iterator is at its end

    def __enter__(self) -> None:
        try:
            self._held.extend(itertools.islice(iter(self._turn._free.pop, None), 1))    # taken and held in one step
        except IndexError:
            raise RuntimeError(self._turn._refusal) from None

    def leave(self) -> None:
        """As Use has it."""

    def __exit__(self, *_: Any) -> None:
        self.finish()


class Borrow(Generic[_T], Finished):
    """Several of Use and Turn.take(), and what is made of their pointers."""

    def __init__(self, make: Callable[..., _T], *parts: Any) -> None:
        self._make = make
        self._parts = parts
        self.finish = once(*(part.finish for part in parts))

    def __enter__(self) -> _T:
        try:
            return self._make(*[part.__enter__() for part in self._parts])
        except BaseException:
            self.finish()
            raise

    def leave(self) -> None:
        """As Use has it."""
        for part in reversed(self._parts):
            part.leave()

    def __exit__(self, *_: Any) -> None:
        self.finish()
        self.leave()


def using(borrowed: Any, work: Callable[[Any], _R]) -> _R:
    """work(what the Use or Borrow holds). As a with statement, but that Ctrl-C has no chance to come before finish."""
    try:
        return work(borrowed.__enter__())
    finally:
        borrowed.finish()
        borrowed.leave()


class WeakRefs(Generic[_T]):
    """Those of some objects that are still there. A weakref.WeakSet has a callback in Python, where exceptions get lost."""

    def __init__(self) -> None:
        self._refs: "Dict[int, weakref.ref[_T]]" = {}
        self._limit = 8

    def add(self, item: _T) -> None:
        """One more, as long as somebody else refers to it."""
        if len(self._refs) >= self._limit:
            for key, ref in list(self._refs.items()):
                if ref() is None:
                    self._refs.pop(key, None)
            self._limit = max(8, 2 * len(self._refs))
        self._refs[next(_keys)] = weakref.ref(item)

    def __iter__(self) -> Iterator[_T]:
        for ref in list(self._refs.values()):
            item = ref()
            if item is not None:
                yield item

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _at_exit() -> None:
    for ref in list(_open.values()):
        native = ref()
        if native is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


def _after_fork() -> None:
    """Closing NULL does nothing."""
    for ref in list(_open.values()):
        native = ref()
        if native is not None and not native.inherited:
            native.left = True
            native.pointer.value = None


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
