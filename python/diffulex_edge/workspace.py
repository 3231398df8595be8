"""Many sequences of one model: workspaces, passes for several of them, and decodes on threads that share passes.

A Workspace is the memory that its sessions share: pages of keys and values, and the activations of one pass. Forks of a
session share its pages until one of them writes. Workspace.forward makes calls of several sessions in one pass, so that
the weights are read once; a Batcher does that for decodes that run on threads of their own. A session's results have the
same bits as when it runs alone.
"""
import ctypes
from ctypes import POINTER, byref, c_int, c_void_p
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

from . import _native
from .decode import NativeForward
from .errors import DlxError, error_from_status
from .handles import Borrow, Handle, WeakRefs, using
from .opened import Opened
from .session import (
    Memory,
    Model,
    Session,
    Timeline,
    _memory,
    _open_session,
    _open_workspace,
    _prepare,
    _workspace_options,
)

__all__ = ["BatchError", "Batcher", "BatcherCounts", "Seat", "Workspace"]

# A session and ids, and what else Session.forward takes, by name.
BatchCall = Union[Tuple[Session, Sequence[int]], Tuple[Session, Sequence[int], Mapping[str, Any]]]


class BatchError(DlxError):
    """Calls of a batch failed; the others were made. results[i] is the logits of call i, or the exception that it would
    have raised alone; errors holds the exceptions by their place. The status is that of the first."""

    def __init__(self, results: List[Any]) -> None:
        self.results = results
        self.errors: Dict[int, DlxError] = {i: r for i, r in enumerate(results) if isinstance(r, DlxError)}
        place, first = next(iter(self.errors.items()))
        super().__init__(f"{len(self.errors)} of {len(results)} calls failed; the first is number {place}: {first}")
        self.status = first.status


class Workspace(Opened):
    """Memory of sessions that share passes; see Model.workspace, which opens one.

    Sessions may be used by different threads, each by one at a time. Closing a workspace with sessions in it is a
    RuntimeError; leaving its with statement ends what runs in it and closes them first.
    """

    def __init__(self, model: Model, max_rows: int = 0, max_context: int = 0, max_sessions: int = 0,
                 kv_positions: int = 0, kv_type: str = "float32") -> None:
        self.model = model
        self.max_context = max_context or model.facts.max_context
        self.max_rows = min(max_rows or model.facts.max_rows, self.max_context)
        self.kv_type = kv_type
        self._options = _workspace_options(max_rows, max_context, max_sessions, kv_positions, kv_type)
        self._handle = _open_workspace(model, self._options)
        self._sessions: "WeakRefs[Session]" = WeakRefs()
        self._batchers: "WeakRefs[Batcher]" = WeakRefs()
        model._workspaces.add(self)

    def session(self) -> Session:
        """An empty sequence. LimitError when max_sessions are open."""
        return self._admit(_open_session(self._handle))

    def _admit(self, native: Handle) -> Session:
        session = Session(self.model, self, native, self.max_rows, self.max_context)
        self._sessions.add(session)
        return session

    def memory(self) -> Memory:
        """Bytes that it takes, with the model's."""
        with self._handle.use():
            return _memory(self.model, self._options)

    @property
    def free_positions(self) -> int:
        """Positions that can still be stored by somebody: whole pages of 64 that no session holds."""
        with self._handle.use() as pointer:
            return int(_native.library().dlx_workspace_free_positions(pointer))

    def forward(self, calls: Sequence[BatchCall]) -> List[Any]:
        """Model calls of several sessions, as many rows of all as fit max_rows in each pass.

        calls   (session, ids) or (session, ids, {...}), each a different session of this workspace; the mapping holds
                what else Session.forward takes: start, context, attn_block, store, rows

        Returns the logits of each call, with the same bits as session.forward(ids, ...) gives. Where calls fail, the
        others are made all the same, and a BatchError has the exceptions and the logits.
        """
        for call in calls:
            if len(call) not in (2, 3) or not isinstance(call[0], Session):
                raise TypeError(f"{call!r} is no call; expected (session, ids) or (session, ids, {{...}})")
            unknown = sorted(set(call[2] if len(call) > 2 else ()) - {"start", "context", "attn_block", "store", "rows"})
            if unknown:
                raise TypeError(f"a call has no {unknown[0]!r}; expected start, context, attn_block, store or rows")
        sessions = [call[0] for call in calls]
        if len(set(map(id, sessions))) < len(sessions):
            raise ValueError("a session occurs twice in the batch; each makes one call")
        if any(session.workspace is not self for session in sessions):
            raise ValueError("a session of the batch lives in another workspace")
        prepared = [_prepare(call[0].model.facts, call[1], **(call[2] if len(call) > 2 else {})) for call in calls]
        if not prepared:
            return []
        n = len(prepared)
        status, errors = (c_int * n)(), (_native.Error * n)()
        native = (POINTER(_native.ForwardCall) * n)(*[ctypes.pointer(call) for call, _ in prepared])
        borrowed = Borrow(lambda *pointers: (c_void_p * n)(*[pointer.value for pointer in pointers]),
                          *[session._borrow() for session in sessions])
        using(borrowed, lambda pointers: _native.library().dlx_forward_batch(pointers, native, n, status, errors))
        results = [logits if status[i] == _native.OK else
                   error_from_status(status[i], errors[i].message.decode("utf-8", "replace"))
                   for i, (_, logits) in enumerate(prepared)]
        if any(status):
            error = BatchError(results)
            raise error from next(iter(error.errors.values()))
        return results

    def _parts(self) -> Iterator[Opened]:
        yield from list(self._batchers)
        yield from list(self._sessions)

    def close(self) -> None:
        """Frees the memory. Closing twice is fine; RuntimeError while sessions or batchers of it are open."""
        self._handle.close("close its sessions and batchers first")

    def __repr__(self) -> str:
        return f"<Workspace, {'closed' if self._handle.closed else f'{self.free_positions} free positions'}>"


class BatcherCounts(NamedTuple):
    """What a batcher did so far."""

    passes: int  # through the program
    shared: int  # of them, those with rows of more than one seat
    calls: int   # of seats, that ended
    rows: int    # computed by the passes


class Batcher(Opened):
    """Lets decodes on threads of their own share passes: each takes a seat, which it decodes with.

        def answer(prompt):
            with workspace.session() as session, batcher.seat(session) as seat:
                return seat.complete(prompt).text

    A call waits until every seat waits, or for max_wait_us in which no pass was made; then one pass is made for all who wait.
    Answers do not depend on the neighbours, and errors and cancelling stay with the decode that they belong to.

    max_wait_us   microseconds; 0: 2000
    """

    def __init__(self, workspace: Workspace, max_wait_us: int = 0) -> None:
        self.workspace = workspace
        options = _native.BatcherOptions(max_wait_us=max_wait_us)
        with workspace._handle.use() as pointer:
            self._handle = Handle(
                "the batcher", lambda out: _native.call("dlx_batcher_open", out, pointer, byref(options)),
                _native.library().dlx_batcher_close, workspace._handle)
        self._seats: "WeakRefs[Seat]" = WeakRefs()
        workspace._batchers.add(self)

    def seat(self, session: Session) -> "Seat":
        """A seat for a decode with a session of the workspace. The others wait for whoever has one: take it when a decode
        begins, and give it back, with close() or a with statement, when it ends."""
        return Seat(self, session)

    @property
    def counts(self) -> BatcherCounts:
        """Passes so far; calls over passes is what sharing saves."""
        out = _native.BatcherCounts()
        with self._handle.use() as pointer:
            _native.call("dlx_batcher_get_counts", pointer, byref(out))
        return BatcherCounts(*(getattr(out, name) for name in BatcherCounts._fields))

    def close(self) -> None:
        """Closing twice is fine; RuntimeError while somebody has a seat. Leaving its with statement ends the decodes that
        have seats, and takes the seats back."""
        self._handle.close("its seats must be given back first")

    def _parts(self) -> Iterator[Opened]:
        yield from list(self._seats)

    def __repr__(self) -> str:
        return f"<Batcher, {'closed' if self._handle.closed else f'{len(self._seats)} seats'}>"


class Seat(Timeline):
    """A session whose model calls share passes with those of the other seats. It takes the session's place: forward,
    generate, complete and stream are here too, and diffulex_edge.generate and complete take it where they take a session.
    For one thread at a time."""

    def __init__(self, batcher: Batcher, session: Session) -> None:
        self.batcher = batcher
        self.session = session
        self.model = session.model
        with batcher._handle.use() as pointer, session._handle.use() as of_session:
            self._handle = Handle(
                "the seat", lambda out: _native.call("dlx_batcher_join", out, pointer, of_session),
                _native.library().dlx_batcher_leave, batcher._handle, session._handle)
        batcher._seats.add(self)
        session._seats.add(self)

    def _borrow_forward(self) -> Borrow[NativeForward]:
        return Borrow(lambda session, seat: NativeForward("dlx_batcher_forward", seat, session),
                      self.session._borrow(), self._handle.use())

    def _scopes(self) -> Tuple[Any, ...]:
        return (self, self.batcher, *self.session._scopes())

    def __repr__(self) -> str:
        return f"<Seat{', closed' if self._handle.closed else ''}>"

    def close(self) -> None:
        """Gives the seat back. Closing twice is fine; RuntimeError while a decode has it. Leaving its with statement ends
        the decode."""
        self._handle.close("wait for its decode first")
