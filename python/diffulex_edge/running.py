"""Who runs the library's long calls, who may stop them, and how they end before the interpreter does.

A decode or an export is a Job: one long call of the library, which calls Python back between its passes. It runs on a
thread of its own while the caller waits, and what it calls back is run by the caller. The reasons:

Ctrl-C. Python raises KeyboardInterrupt at whatever instruction the main thread is about to run. In a callback from C that
may be the first one, before any `try`; ctypes then prints and drops the exception, and C goes on with an undefined answer
(regularly so since Python 3.11). Only the main thread is ever interrupted, so there C calls nobody back: the main thread
sits in a wait, where an exception goes the usual way, and the job is cancelled and has ended when it comes out.

The end of the interpreter. Behind the last statement Python waits for ordinary threads, then runs what atexit has, then
takes the interpreter apart under the feet of daemon threads; a callback from C into what is left crashes. So all jobs are
known here, and an atexit function cancels them and waits. atexit and not threading._register_atexit: that one comes before
ordinary threads are waited for, whose decodes would be cut off. Jobs run on daemon threads, because Python waits for the
others before atexit is called: a stream that nobody reads would keep the program alive.

Closing. A job names what it works on (its scopes: a session, a workspace, a model), and so does a decode from within a
job, for as long as it lasts. end(scope) cancels and joins.

Threads are kept for the next job: starting one runs code of the threading module, and dropping one a callback in Python, where
Python drops what a signal raises.

Nothing here takes a lock that the main thread shares with others: an exception between taking one and the `with` block
would keep it taken. What is shared changes in single steps (set.add, dict.setdefault, dict.pop, SimpleQueue), which are
atomic.
"""
import atexit
import collections
import os
import queue
import threading
import time
from functools import partial
from typing import Any, Callable, Deque, Dict, Optional, Set, Tuple

from .handles import once

__all__ = ["Abandoned", "Job", "LOOK", "current", "end", "leave", "run"]

# Seconds after which a wait looks about. A signal that arrives just before a wait begins does not end it.
LOOK = 0.1

_jobs: "Set[Job]" = set()
_ending = False
_worker = threading.local()

# Threads that wait for work; each that does has put an item into _waiting, which whoever has work takes out.
_MOST_WAITING = 4
_waiting: "Deque[None]" = collections.deque()
_work: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()


def _serve_work() -> None:
    while True:
        work = _work.get()
        work()
        del work    # what it refers to goes now
        if len(_waiting) >= _MOST_WAITING:
            return
        _waiting.append(None)


def _on_a_thread(work: Callable[[], None]) -> None:
    """RuntimeError where there can be no thread, which is so when Python ends."""
    try:
        _waiting.pop()
    except IndexError:
        threading.Thread(target=_serve_work, name="diffulex_edge", daemon=True).start()
    _work.put(work)


class Abandoned(Exception):
    """The job was cancelled while it waited for its caller."""


class _Request:
    """A function that the caller is to run for the job."""

    def __init__(self, function: Callable[..., Any], arguments: Any) -> None:
        self.function = function
        self.arguments = arguments
        self.result: Any = None
        self.error: Optional[BaseException] = None


class Job:
    """A long call of the library. `cancelled` is what its callbacks look at; cancel() asks it to end behind the pass at
    work, and may be called from anywhere: it is a function of C."""

    def __init__(self, *scopes: Any, asks: bool = True) -> None:
        self.scopes: Dict[object, Tuple[Any, ...]] = {object(): scopes}     # by who named them
        self.ended = False
        self.left = False       # with the process that this one was forked from
        self.result: Any = None
        self.error: Optional[BaseException] = None
        self._asks = asks                  # callbacks are run by the caller; else on the job's own thread
        self._first: "dict[str, str]" = {}  # who came first: the thread that begins, or the caller who gives up
        self._requests: "queue.SimpleQueue[Optional[_Request]]" = queue.SimpleQueue()
        self._replies: "queue.SimpleQueue[Optional[_Request]]" = queue.SimpleQueue()
        self._cancels: "Deque[bool]" = collections.deque()
        self._turn = threading.Lock()      # of its own threads to ask
        self._threads: Set[int] = set()    # that run the job or something for it: they cannot wait for its end

    @property
    def cancelled(self) -> bool:
        """It was asked to end."""
        return bool(self._cancels)

    @property
    def cancel(self) -> Callable[[], None]:
        """What asks it to end, when it is called."""
        return once(partial(self._cancels.append, True), partial(self._replies.put, None))

    # ---- the job's thread

    def _main(self, work: "Callable[[Job], Any]") -> None:
        if self._first.setdefault("who", "job") != "job":
            return
        before, me = getattr(_worker, "job", None), threading.get_ident()
        self._threads.add(me)
        try:
            _worker.job = self
            self.result = work(self)
        except BaseException as error:  # noqa: B902 - raised again by the caller
            self.error = error
        finally:
            _worker.job = before
            self._threads.discard(me)
            self.ended = True
            _jobs.discard(self)
            self._requests.put(None)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Has the caller run a function of Python; its result or exception. Abandoned when the job is cancelled."""
        if self.cancelled:
            raise Abandoned
        if not self._asks:
            return function(*arguments)
        request = _Request(function, arguments)
        with self._turn:
            if self.cancelled:
                raise Abandoned
            self._requests.put(request)
            reply = self._replies.get()
            while reply is not request:
                if self.cancelled:
                    raise Abandoned
                reply = self._replies.get()
        if request.error is not None:
            raise request.error
        return request.result

    def allows(self, keep: Callable[[BaseException], Any], function: Optional[Callable[..., Any]],
               read: Callable[[], Tuple[Any, ...]]) -> bool:
        """What a callback answers that C asks whether to go on: the job is not cancelled, and the function, which the caller
        runs, did not say False. Exceptions cannot pass through C: keep(error) has them, and the answer is no.

        function   None: there is none to ask
        read       its arguments. Called at once, by the job: what C points to may be gone when the caller has given up
        """
        try:
            if self.cancelled:
                return False
            return function is None or self.ask(function, *read()) is not False
        except Abandoned:
            return False
        except BaseException as error:  # noqa: B902 - raised again behind the C call
            keep(error)
            return False

    def also(self, work: Callable[[], None]) -> threading.Thread:
        """Starts another thread for the job; the job joins it before it ends."""
        def main() -> None:
            me = threading.get_ident()
            self._threads.add(me)
            _worker.job = self
            try:
                work()
            finally:
                _worker.job = None
                self._threads.discard(me)
        thread = threading.Thread(target=main, name="diffulex_edge", daemon=True)
        thread.start()
        return thread

    # ---- the caller

    def start(self, work: "Callable[[Job], Any]") -> None:
        """Begins on a thread of its own; on this one where there can be none, which is so when Python ends."""
        _jobs.add(self)
        if _ending:
            _jobs.discard(self)
            _stay()
            raise RuntimeError("the interpreter is ending; nothing can be decoded or exported any more")
        try:
            _on_a_thread(partial(self._main, work))
        except RuntimeError:
            self._asks = False
            self._main(work)

    def serve(self) -> None:
        """Runs what the job asks for until it has ended."""
        while True:
            try:
                request = self._requests.get(timeout=LOOK)
            except queue.Empty:
                continue
            if request is None:
                return
            self._serve(request)

    def _serve(self, request: _Request) -> None:
        me = threading.get_ident()
        self._threads.add(me)
        try:
            request.result = request.function(*request.arguments)
        except BaseException as error:  # noqa: B902 - comes out of the job
            request.error = error
        finally:
            self._threads.discard(me)
        self._replies.put(request)

    def settle(self) -> Optional[BaseException]:
        """Cancels it and waits for its end, whatever is raised meanwhile; returns the last of that."""
        raised: Optional[BaseException] = None
        while True:
            try:
                self.cancel()
                if self._first.setdefault("who", "caller") == "caller":
                    self.ended = True   # its thread will not begin
                    _jobs.discard(self)
                self.wait()
                return raised
            except BaseException as error:  # noqa: B902 - Ctrl-C again
                raised = error

    def wait(self) -> None:
        """Waits for its end."""
        pause = 0.0005
        while not self.ended:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def stay_behind(self) -> None:
        """In a process that was forked off: its thread is not there, so it has ended for all who wait."""
        self.left = self.ended = True
        self.error = RuntimeError("this was begun before this process was forked off, and the thread that does it stayed with "
                                  "the other one: begin it in this process, or start processes with multiprocessing's "
                                  "'spawn'")
        self._cancels.append(True)  # if it is the job's own thread that forked
        self._requests.put(None)

    def outcome(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.result


def current() -> Optional[Job]:
    """The job whose thread this is."""
    job: Optional[Job] = getattr(_worker, "job", None)
    return job


def run(work: Callable[[Job], Any], *scopes: Any) -> Any:
    """work(job), on a thread of its own, while this one waits; its result or exception. What is raised here meanwhile
    (Ctrl-C) cancels it, and comes out when it has ended."""
    outer = current()
    if outer is not None:   # a stream's, whose thread is one already
        mark = object()
        try:
            outer.scopes[mark] = scopes
            return work(outer)
        finally:
            outer.scopes.pop(mark, None)
    job = Job(*scopes)
    try:
        job.start(work)
        job.serve()
    except BaseException as error:  # noqa: B902 - raised again
        again = job.settle()
        if again is not None:
            raise again from error
        raise
    if _ending:
        _stay()
    return job.outcome()


def _stay() -> None:
    """Python is about to stop daemon threads wherever they are: they need not see that their work was cancelled."""
    while threading.current_thread().daemon:
        time.sleep(1)


def end(*scopes: Any) -> None:
    """Cancels and joins all jobs that work on one of the scopes. RuntimeError from within one of them, which is then not
    cancelled either."""
    jobs = [job for job in list(_jobs)
            if any(of is scope for named in list(job.scopes.values()) for of in named for scope in scopes)]
    me = threading.get_ident()
    if any(me in job._threads for job in jobs):
        raise RuntimeError("this is a callback of a decode that is to be ended: return False from it, and close behind "
                           "the decode")
    for job in jobs:
        job.cancel()
    for job in jobs:
        job.wait()


def leave(close: Callable[[], None], error: Optional[BaseException]) -> None:
    """Closes at the end of a with statement. What cannot be closed must not hide the exception that ends it."""
    try:
        close()
    except RuntimeError:
        if error is None:
            raise


def _at_exit() -> None:
    global _ending
    _ending = True
    for job in list(_jobs):
        job.settle()


def _after_fork() -> None:
    """The threads of the parent are not there."""
    global _work
    for job in list(_jobs):
        job.stay_behind()
    _jobs.clear()
    _waiting.clear()
    _work = queue.SimpleQueue()
    _worker.__dict__.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
