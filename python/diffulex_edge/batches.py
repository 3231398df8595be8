"""Lists of prompts: decodes on threads of their own that share passes, through a Workspace and a Batcher."""
import queue
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from . import running
from .completion import Completion, complete
from .workspace import Batcher

if TYPE_CHECKING:
    from .session import Model
    from .text import Tokenizer

__all__ = ["check_batch_size", "complete_many"]

Result = Union[Completion, BaseException]


def check_batch_size(batch_size: int) -> None:
    """ValueError where nothing could decode."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1 is needed")


def complete_many(model: "Model", prompts: Sequence[Sequence[int]], tokenizer: "Optional[Tokenizer]", batch_size: int,
                  arguments: Dict[str, Any], on_done: Optional[Callable[[int, Result], Any]] = None,
                  each: Sequence[Mapping[str, Any]] = ()) -> List[Result]:
    """A completion, or the exception that ended it, for each prompt, in their order.

    batch_size   that many decode at one time
    arguments    of complete()
    each         decode options of each prompt besides; () for none
    on_done      called by the caller's thread as on_done(place, result) when one is finished, whichever comes first;
                 returning False ends all: what is not finished is a Cancelled
    """
    check_batch_size(batch_size)
    if not prompts:
        return []
    results: List[Result] = running.run(
        lambda job: _Batch(job, model, prompts, tokenizer, arguments, on_done, each).run(min(batch_size, len(prompts), 1024)), model)
    return results


class _Batch:
    def __init__(self, job: running.Job, model: "Model", prompts: Sequence[Sequence[int]],
                 tokenizer: "Optional[Tokenizer]", arguments: Dict[str, Any],
                 on_done: Optional[Callable[[int, Result], Any]], each: Sequence[Mapping[str, Any]]) -> None:
        self._job, self._model, self._prompts = job, model, prompts
        self._tokenizer, self._arguments, self._on_done, self._each = tokenizer, arguments, on_done, each
        self._results: List[Optional[Result]] = [None] * len(prompts)
        self._next: "queue.SimpleQueue[int]" = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._error: Optional[BaseException] = None     # of on_done
        for i in range(len(prompts)):
            self._next.put(i)

    def run(self, sessions: int) -> List[Result]:
        from .errors import Cancelled
        workspace = self._model.workspace(max_sessions=sessions)
        batcher = Batcher(workspace)
        opened = [workspace.session() for _ in range(sessions)]
        # All have their seats before any begins: a thread that starts late is waited for.
        seats = [batcher.seat(session) for session in opened]
        threads = [self._job.also(lambda pair=pair: self._decode(batcher, *pair))  # type: ignore[misc]
                   for pair in zip(opened, seats)]
        for thread in threads:
            thread.join()
        for handle in (batcher._handle, *(session._handle for session in opened), workspace._handle):
            handle.retire()
        if self._error is not None:
            raise self._error
        cancelled = Cancelled("the decode was cancelled before it began")
        return [result if result is not None else cancelled for result in self._results]

    def _decode(self, batcher: Batcher, session: Any, first: Any) -> None:
        try:
            self._decode_all(batcher, session, first)
        finally:
            first.close()

    def _decode_all(self, batcher: Batcher, session: Any, seat: Any) -> None:
        while not self._stopped.is_set() and not self._job.cancelled:
            try:
                i = self._next.get_nowait()
            except queue.Empty:
                return
            result: Result
            try:
                session.truncate(0)
                if seat is None:
                    seat = batcher.seat(session)
                try:
                    result = complete(seat, self._prompts[i], tokenizer=self._tokenizer, on_step=self._on_step,
                                      **self._arguments, **(self._each[i] if self._each else {}))
                finally:
                    seat.close()    # the others do not wait for it any more
                    seat = None
            except Exception as error:  # noqa: BLE001 - the result of this prompt
                result = error
            except BaseException as error:  # noqa: B902 - Ctrl-C, while the caller looked whether to go on
                self._error = self._error or error
                self._stopped.set()
                return
            if self._stopped.is_set() or self._job.cancelled:
                return
            self._results[i] = result
            self._tell(i, result)

    def _on_step(self, *_: Any) -> bool:
        return not self._stopped.is_set()

    def _tell(self, i: int, result: Result) -> None:
        if self._on_done is None:
            return
        def tell() -> None:     # by the caller, one after the other
            if self._on_done is not None and not self._stopped.is_set() and self._on_done(i, result) is False:
                self._stopped.set()
        try:
            self._job.ask(tell)
        except running.Abandoned:
            self._stopped.set()
        except BaseException as error:  # noqa: B902 - raised again when the others have ended
            self._error = self._error or error
            self._stopped.set()
