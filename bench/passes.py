"""Forward passes of a session, timed from outside of the decoder. For the scripts beside it."""
import ctypes
import time

from diffulex_edge import Model, _native

CHUNK = 32


class Passes:
    """A model with `context` cached positions, and kernels of the set `cpu` at most; run() does one denoising pass behind them."""

    def __init__(self, path, threads, context, cpu=None):
        self.model, self.context = Model(path, threads=threads, cpu=cpu), context
        self.session = self.model.session()
        facts = self.model.facts
        self.ids = [(i * 2654435761 >> 8) % facts.vocab_size for i in range(facts.max_context)]
        self.logits = (ctypes.c_float * (facts.vocab_size * min(facts.max_rows, facts.max_context)))()
        for p in range(0, context, CHUNK):
            self.forward(p, min(CHUNK, context - p), True, False)

    def forward(self, start, n, store, wanted):
        """Milliseconds of a call over n rows; logits of all of them when `wanted`."""
        pointer = ctypes.cast(self.logits, ctypes.POINTER(ctypes.c_float)) if wanted else None
        call = _native.ForwardCall(ids=(ctypes.c_int32 * n)(*self.ids[start:start + n]), n_ids=n, start=start,
                                   n_context=1 if start else 0, attn_block=0, n_store=n if store else 0,
                                   n_rows=n if wanted else 0, logits=pointer)
        call.context[0] = _native.Span(0, start)
        with self.session._borrow() as handle:
            begin = time.perf_counter()
            _native.call("dlx_session_forward", handle, ctypes.byref(call))
            return (time.perf_counter() - begin) * 1e3

    def run(self, rows):
        return self.forward(self.context, rows, False, True)

    def logits_of(self, rows):
        """The bytes of the last run's logits."""
        return memoryview(self.logits).cast("B")[:rows * self.model.facts.vocab_size * 4]

    def close(self):
        self.session.close()
        self.model.close()
