"""Streams: what a decode gives out while it runs, as an iterator.

A stream decodes on a thread of its own (running.py): the library calls back from within one long C call, and an iterator
must hand out pieces in between. Some pieces may be made before they are read. Closing the stream, or leaving its with
statement, cancels the decode behind the pass at work and waits for it; dropping it cancels it, too.
"""
import collections
import queue
import threading
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Deque, Iterator, Mapping, Optional, Sequence, Tuple, Union

from .handles import Finished, only_here
from .running import LOOK, Job

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack

    from .completion import Completion
    from .decode import ForwardFn, ModelFacts, OnStep
    from .options import DecodeOptions
    from .text import Tokenizer

__all__ = ["CompletionStream", "Feed", "stream"]

_END = object()


class _Channel:
    """Between the thread that makes items and those who read them. It does not know the Feed, which can so be dropped."""

    def __init__(self, ahead: int) -> None:
        self.items: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self.room: "queue.SimpleQueue[None]" = queue.SimpleQueue()
        self.waiting: "Deque[Tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]" = collections.deque()
        self.opened_by = threading.get_ident()
        for _ in range(ahead):
            self.room.put(None)

    def put(self, item: Any) -> None:
        self.items.put(item)
        while self.waiting:
            loop, future = self.waiting.popleft()
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:    # its loop is closed
                pass

    def emit(self, job: Job, item: Any) -> bool:
        """Waits for room; False when the job is cancelled."""
        while not job.cancelled:
            try:
                # Without a thread of its own nobody reads meanwhile.
                self.room.get(block=threading.get_ident() != self.opened_by, timeout=LOOK)
            except queue.Empty:
                if threading.get_ident() != self.opened_by:
                    continue
            self.put(item)
            return True
        return False


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Feed(Finished):
    """Runs `work(emit)` on a thread of its own and hands out what it emits, in order, for `for` and for `async for`.

    emit(item) waits while `ahead` items are unread and returns False once the feed is closed. The exception that ends the
    work comes out of the iteration. scopes: what it works on, see running.py
    """

    def __init__(self, work: Callable[[Callable[[Any], bool]], Any], *scopes: Any, ahead: int = 64) -> None:
        channel = self._channel = _Channel(ahead)
        job = self._job = Job(*scopes, asks=False)
        self._ended = False
        self.finish = job.cancel    # when the feed is dropped

        def run(job: Job) -> Any:
            try:
                return work(lambda item: channel.emit(job, item))
            finally:
                channel.put(_END)
        job.start(run)

    @property
    def ended(self) -> bool:
        """The end was read, or the feed was closed."""
        return self._ended

    @property
    def result(self) -> Any:
        """What the work returned; None before the end."""
        return self._job.result if self._ended else None

    def next(self) -> Any:
        """The next item; StopIteration at the end, or the exception that ended the work."""
        while not self._ended:
            self._here()
            try:
                return self._take(self._channel.items.get(timeout=LOOK))
            except queue.Empty:
                continue
        raise StopIteration

    async def next_async(self) -> Any:
        """next for `async for`: StopAsyncIteration at the end."""
        import asyncio      # here, because most programs do without it, and it takes long to import
        loop = asyncio.get_running_loop()
        while not self._ended:
            self._here()
            try:
                return self._take(self._channel.items.get_nowait())
            except queue.Empty:
                pass
            except StopIteration:
                break
            future: "asyncio.Future[None]" = loop.create_future()
            self._channel.waiting.append((loop, future))
            if self._channel.items.empty():     # nothing came before the future was there
                await future
        raise StopAsyncIteration

    def _here(self) -> None:
        """Pieces that were made before the process was forked off are the other one's to read."""
        if self._job.left:
            self._ended = True
            self._job.outcome()

    def _take(self, item: Any) -> Any:
        if item is not _END:
            self._channel.room.put(None)
            return item
        self._ended = True
        self._job.wait()
        self._job.outcome()
        raise StopIteration

    def close(self) -> None:
        """Tells the work to end and waits for it. From within the work it does not wait."""
        self._ended = True
        if threading.get_ident() in self._job._threads:
            self._job.cancel()
            return
        raised = self._job.settle()
        if raised is not None:
            raise raised

class CompletionStream:
    """Iterator over the text of a completion as it becomes final, for `for` and for `async for`.

    Iterate to get pieces of text; their concatenation is the completion's text. `completion` is there once the
    iteration has ended or close() was called (None when the decode failed). Leaving the loop early and dropping the
    stream cancels the decode; so does close(), which also waits for it, and leaving a with statement.
    """

    __reduce_ex__ = only_here

    def __init__(self, run: "Callable[[Callable[[str], bool]], Completion]", *scopes: Any) -> None:
        self._feed = Feed(run, *scopes)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece: str = self._feed.next()
        return piece

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        piece: str = await self._feed.next_async()
        return piece

    @property
    def completion(self) -> "Optional[Completion]":
        """The finished completion; None before the end."""
        result: "Optional[Completion]" = self._feed.result
        return result

    def close(self) -> None:
        """Cancels the decode, if it still runs, and waits for it. Closing twice is fine."""
        self._feed.close()

    async def aclose(self) -> None:
        """close() without holding up the event loop."""
        import asyncio
        self._feed._job.cancel()
        while not self._feed._job.ended:
            await asyncio.sleep(0.002)
        self._feed.close()

    def __enter__(self) -> "CompletionStream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    async def __aenter__(self) -> "CompletionStream":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<CompletionStream, {'ended' if self._feed.ended else 'running'}>"


def stream(forward: "Union[ForwardFn, Any]", prompt: Sequence[int], *, tokenizer: "Tokenizer",
           facts: "Optional[ModelFacts]" = None, reuse: bool = False, stop: Union[str, Sequence[str], None] = None,
           keep_special: bool = False, on_step: "Optional[OnStep]" = None, options: Optional[Mapping[str, Any]] = None,
           **keywords: "Unpack[DecodeOptions]") -> CompletionStream:
    """complete() as an iterator over the text; takes the arguments of complete() except on_text."""
    from .completion import complete
    if "on_text" in keywords:
        raise ValueError("a stream hands out the text itself; use complete() with on_text")
    scopes = forward._scopes() if hasattr(forward, "_scopes") else ()
    return CompletionStream(
        lambda emit: complete(forward, prompt, facts=facts, tokenizer=tokenizer, reuse=reuse, stop=stop,
                              keep_special=keep_special, on_text=emit, on_step=on_step, options=options, **keywords),
        *scopes)
