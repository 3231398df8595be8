"""Measuring: what this machine could do at most, what passes of a model take on it, and what decodes made of them would."""
from ctypes import byref, c_double, c_int32
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from . import _native, running
from .decode import _Options
from .handles import Handle
from .opened import Opened
from .session import Model
from .threads import ThreadPool

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import DecodeOptions

__all__ = ["Bench", "BenchDecode", "BenchPass", "Probe", "probes"]


class Probe(NamedTuple):
    """A limit of the machine, measured alone."""

    kind: str                    # "read": bytes; "int8", "int4" (4-bit weights), "bf16", "float32": operations
    name: str                    # the instruction, or how memory is read
    kernels: Optional[str]       # the kernel set whose products are made of it
    tiles: bool                  # an instruction on tiles, which the system gives to who asks
    per_second: Optional[float]  # with all threads; None where this CPU lacks it. A product and its addition are two


def _probe(i: int, pool: ThreadPool, rate: c_double, _: object) -> None:
    _native.call("dlx_probe_run", i, pool._handle.pointer, byref(rate))


def probes(threads: int = 0, kinds: Optional[Sequence[str]] = None) -> List[Probe]:
    """Measures what this machine could do at most: some tens of milliseconds each, with so many threads (0: one for each
    available core). kinds: only these; None: all."""
    library = _native.library()
    found: List[Probe] = []
    with ThreadPool(threads) as pool:
        info = _native.ProbeInfo()
        i = 0
        while library.dlx_get_probe_info(i, byref(info)):
            kind = info.kind.decode()
            if kinds is None or kind in kinds:
                rate = c_double()
                if info.available:
                    running.run(partial(_probe, i, pool, rate))
                found.append(Probe(kind, info.name.decode(), info.kernels.decode() if info.kernels else None,
                                   bool(info.tiles), rate.value if info.available else None))
            i += 1
    return found


class BenchPass(NamedTuple):
    """Passes of one number of rows."""

    rows: int
    turns: int            # passes that were counted
    least_ms: float       # of a pass with logits of all rows: the fastest,
    median_ms: float
    most_ms: float
    body_ms: float        # the median of passes without logits
    bytes: float          # packed weights, and cached keys and values: what a pass reads of memory at least
    int8: float           # operations with quantised rows and weights of 8 bits,
    int4: float           # of 4 bits,
    float32: float        # and all others


class BenchDecode(NamedTuple):
    """What a decode would take."""

    algorithm: str
    block_length: int     # 0: the algorithm has none
    new_tokens: int
    passes: int           # all model calls but the prompt's
    widest: int           # rows of the largest of them
    prompt_ms: float
    decode_ms: float

    @property
    def tokens_per_second(self) -> float:
        """New tokens for each second of decoding."""
        return self.new_tokens / (self.decode_ms / 1e3) if self.decode_ms > 0 else 0.0


class Bench(Opened):
    """Passes of a model on this machine, run in turns when it is made: Bench(model).

    model     a Model; nobody should compute with it, or anything else on the machine, meanwhile
    rows      of the passes, ascending; None: 1, 2, 4 ... 256, as far as the file's bounds allow
    context   cached positions in front of the rows, rounded down to whole blocks where attention has blocks; None: 512,
              or half of the file's positions where that is less
    turns     passes of each number of rows; 0: as many as begin within `seconds`, 3 to 15
    kv_type   of cached keys and values: "float32", "float16" or "int8"
    on_pass   called as on_pass(rows, turn) before each pass; returning False ends the measurement with what there is

    LimitError where the file has no room for that.
    """

    def __init__(self, model: Model, *, rows: Optional[Sequence[int]] = None, context: Optional[int] = None, turns: int = 0,
                 seconds: int = 0, kv_type: str = "float32",
                 on_pass: Optional[Callable[[int, int], Optional[bool]]] = None) -> None:
        library = _native.library()
        options = _native.BenchOptions(turns=turns, seconds=seconds, kv_type=kv_type.encode(), context=context or 0,
                                       no_context=int(context == 0))
        if rows is not None:
            options.rows = (c_int32 * max(1, len(rows)))(*rows)
            options.n_rows = len(rows)

        def run(job: running.Job) -> Handle:
            raised: List[BaseException] = []
            options.on_pass = _native.BENCH_FN(lambda _, n, turn: job.allows(raised.append, on_pass, lambda: (n, turn)))
            with model._handle.use() as pointer:
                handle = Handle("the bench", lambda out: _native.call("dlx_bench_run", out, pointer, byref(options)),
                                library.dlx_bench_free, inherited=True)
            if raised:
                raise raised[0]
            return handle
        self._handle: Handle = running.run(run, model)
        info = _native.BenchInfo()
        library.dlx_bench_get_info(self._handle.pointer, byref(info))
        self.kernels: str = info.kernels.decode()
        self.threads: int = info.threads
        self.context: int = info.context
        self.context_ms: float = info.prompt_ms
        self.cancelled = bool(info.cancelled)
        self.passes: List[BenchPass] = [self._pass(i) for i in range(info.passes)]

    def _pass(self, i: int) -> BenchPass:
        p = _native.BenchPass()
        _native.library().dlx_bench_get_pass(self._handle.pointer, i, byref(p))
        return BenchPass(*(getattr(p, name) for name in BenchPass._fields))

    def estimate(self, tokens: float, prompt_tokens: int = 0, *, options: Optional[Mapping[str, Any]] = None,
                 **keywords: "Unpack[DecodeOptions]") -> BenchDecode:
        """What a decode would take if each denoising pass revealed `tokens` masks: the algorithm runs over made-up answers,
        and each of its passes costs what passes of so many rows were measured to take. How many masks a pass reveals
        is up to the model and the text; choosing tokens is not in it.

        prompt_tokens       length of the prompt; 0: the context of the measurement
        options, keywords   decode options by name
        """
        out = _native.BenchDecode()
        decode: Dict[str, Any] = {**(options or {}), **keywords}
        with self._handle.use() as pointer, _Options(decode) as handle:
            _native.call("dlx_bench_estimate", pointer, handle, float(tokens), prompt_tokens or max(1, self.context),
                         byref(out))
        return BenchDecode(out.algorithm.decode(), out.block_length, out.new_tokens, out.passes, out.widest, out.prompt_ms,
                           out.decode_ms)

    def close(self) -> None:
        """Closing twice is fine."""
        self._handle.close()

    def _end(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Bench of {len(self.passes)} numbers of rows behind {self.context} positions, {self.kernels}>"
