"""Pools of worker threads that models share."""
from . import _native
from .handles import Handle
from .opened import Opened

__all__ = ["ThreadPool"]


class ThreadPool(Opened):
    """Threads for the loops of any number of models: Model(path, pool=pool).

    One model's call has the workers at a time; whoever finds them taken computes alone, so nobody waits. Results do not
    depend on it. A model that is opened without a pool has one of its own.

    threads   of one loop, the caller's own included; 0: one for each available core
    """

    def __init__(self, threads: int = 0) -> None:
        library = _native.library()
        self._handle = Handle("the thread pool",
                              lambda out: _native.call("dlx_thread_pool_create", out, threads),
                              library.dlx_thread_pool_free)
        self.threads = int(library.dlx_thread_pool_size(self._handle.pointer))

    def close(self) -> None:
        """Ends the threads. Closing twice is fine; RuntimeError while a model has the pool."""
        self._handle.close("close its models first")

    def _end(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ThreadPool of {self.threads}{', closed' if self._handle.closed else ''}>"
