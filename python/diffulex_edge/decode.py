"""Decoding: model facts, the forward call, decode options, and generate().

A decoder asks a forward function for rows of logits. That is a Session, a Seat, or any Python callable that takes a
ForwardCall and returns an array of shape [len(call.rows), vocab_size] (numpy, torch, or sequences of floats).
"""
import contextlib
import ctypes
import dataclasses
import functools
import operator
from array import array
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from . import _native, constraint, running
from .errors import DlxError, error_from_status
from .show import denoising_html

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import DecodeOptions
    from .text import Tokenizer

__all__ = [
    "Accepted", "FAMILIES", "ForwardCall", "Generation", "ModelFacts", "OptionInfo", "Step", "Token", "decode_options",
    "family_name", "generate",
]

# Names of the model families; their numbers in the library are their places in this list.
FAMILIES = ("unknown", "llada", "dream", "sdar", "fast_dllm_v2")


def family_name(name: str) -> str:
    """The family's own name for any accepted spelling ("fast_dllm" too); ValueError for names of no family."""
    number = _native.library().dlx_family_from_name(name.encode())
    if number == 0:
        raise ValueError(f"Unknown model_type: {name}. Available: {list(FAMILIES[1:])}")
    return FAMILIES[number]


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What a decoder must know about a model. Token ids are -1 where there is none."""

    family: str = "unknown"
    vocab_size: int = 0          # logits a row
    max_context: int = 0         # positions 0 .. max_context-1 exist
    max_rows: int = 0            # most rows of one forward call
    mask_id: int = -1            # -1: no mask, the model decodes autoregressively
    attn_block: int = 0          # 0: every row sees every row; else block-causal of this width on absolute positions
    logits_shift: int = 0        # 1: row i-1 of the logits predicts position i
    block_length: int = 0        # default decoding block
    small_block_size: int = 0    # Fast-dLLM v2's sub-block
    bos_id: int = -1
    eos_id: int = -1
    pad_id: int = -1
    num_tokens: int = 0          # ids from here on have no token and are never chosen; 0: not known
    stop_ids: Tuple[int, ...] = ()  # ids that end an answer
    rounded_bits: int = 0        # bits that weights were rounded to; 0: not known, or found by calibration

    @classmethod
    def from_native(cls, facts: _native.ModelFacts) -> "ModelFacts":
        """From the library's structure."""
        numbers = {f.name: int(getattr(facts, f.name)) for f in dataclasses.fields(cls)
                   if f.name not in ("family", "stop_ids")}
        family = FAMILIES[facts.family] if 0 <= facts.family < len(FAMILIES) else "unknown"
        return cls(family=family, stop_ids=tuple(facts.stop_ids[:facts.num_stop_ids]), **numbers)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Sequence[Any]]) -> "ModelFacts":
        """From the constant methods of a .pte: {"get_vocab_size": [1280], ...}, as inspect() gives them."""
        def number(name: str, otherwise: int) -> int:
            values = metadata.get(name) or [otherwise]
            return int(values[0])
        family = str((metadata.get("get_model_family") or ["unknown"])[0])
        return cls(
            family=family if family in FAMILIES else "unknown", vocab_size=number("get_vocab_size", 0),
            max_context=number("get_max_context_len", 0), max_rows=number("get_max_seq_len", 0),
            mask_id=number("get_mask_id", -1), attn_block=number("get_attention_block", 0),
            logits_shift=number("get_logits_shift", 0), block_length=number("get_block_length", 0),
            small_block_size=number("get_small_block_size", 0), bos_id=number("get_bos_id", -1),
            eos_id=number("get_eos_id", -1), pad_id=number("get_pad_id", -1),
            num_tokens=number("get_token_count", 0),
            stop_ids=tuple(int(i) for i in metadata.get("get_eos_ids") or ()),
            rounded_bits=number("get_rounded_bits", 0))

    def to_native(self) -> _native.ModelFacts:
        """As the library's structure."""
        if len(self.stop_ids) > _native.MAX_STOP_IDS:
            raise ValueError(f"{len(self.stop_ids)} stop ids were given; at most {_native.MAX_STOP_IDS} are possible")
        facts = _native.ModelFacts(family=FAMILIES.index(self.family), num_stop_ids=len(self.stop_ids))
        for field in dataclasses.fields(self):
            if field.name not in ("family", "stop_ids"):
                setattr(facts, field.name, getattr(self, field.name))
        facts.stop_ids[:len(self.stop_ids)] = self.stop_ids
        return facts


# ---- options ---------------------------------------------------------------------------------------------------------

class OptionInfo(NamedTuple):
    """One row of the table of decode options."""

    name: str
    kind: str                 # "int", "float", "bool", "ids", "word"
    algorithms: Tuple[str, ...]  # algorithms that have it; ("all",)
    help: str


def decode_options() -> List[OptionInfo]:
    """Every decode option of every algorithm: what generate() takes as keyword arguments."""
    library = _native.library()
    rows = []
    for i in range(library.dlx_decode_option_count()):
        info = _native.OptionInfo()
        library.dlx_decode_option_info(i, byref(info))
        rows.append(OptionInfo(info.name.decode(), info.kind.decode(),
                               tuple(a.strip() for a in info.algorithms.decode().split(",")), info.help.decode()))
    return rows


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"option {name!r}: {value!r} is no token id; expected whole numbers")
    return operator.index(value)


def _option_text(name: str, value: Any) -> Optional[str]:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, bytes)):
        return value if isinstance(value, str) else value.decode()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return ",".join(str(_whole(v, name)) for v in value) or "none"
    return repr(value) if isinstance(value, float) else str(value)


class _Options:
    """A dlx_decode_options that is freed at the end of a with statement."""

    def __init__(self, options: Mapping[str, Any], tokenizer: "Optional[Tokenizer]" = None) -> None:
        self._values = {name: value for name, value in options.items() if name not in constraint.NAMES}
        self._constraint = constraint.constraint_of(options, tokenizer)
        self._used = contextlib.ExitStack()
        self.handle = c_void_p()

    def __enter__(self) -> c_void_p:
        _native.call("dlx_decode_options_create", byref(self.handle))
        try:
            for name, value in self._values.items():
                _native.call("dlx_decode_options_set", self.handle, name.encode(),
                             _native.optional_text(_option_text(name, value)))
            if self._constraint is not None:
                _native.call("dlx_decode_options_set_constraint", self.handle,
                             self._used.enter_context(self._constraint._handle.use()))
        except BaseException:
            self.__exit__()
            raise
        return self.handle

    def __exit__(self, *_: Any) -> None:
        _native.library().dlx_decode_options_free(self.handle)
        self._used.close()


def check_options(options: Mapping[str, Any], tokenizer: "Optional[Tokenizer]" = None) -> None:
    """InvalidArgumentError for an unknown name, or a value that the option does not take."""
    with _Options(options, tokenizer):
        pass


# ---- forward ---------------------------------------------------------------------------------------------------------

class ForwardCall(NamedTuple):
    """One model call, as dlx_forward_call describes it (include/diffulex_edge/decode.h)."""

    ids: List[int]                   # token ids at positions start ..
    start: int                       # absolute position of ids[0]
    context: List[Tuple[int, int]]   # half-open ranges of cached positions that take part
    attn_block: int                  # 0: full attention; else block-causal of this width on absolute positions
    n_store: int                     # keys and values of that many leading rows are kept in the cache
    rows: List[int]                  # indices into ids whose logits are wanted, ascending


ForwardFn = Callable[[ForwardCall], Any]


class NativeForward(NamedTuple):
    """A forward function of the library, for a session. Python runs in between only where a runner is a function of it."""

    function: str                   # its name
    context: c_void_p               # its first argument
    session: Optional[c_void_p]     # of the library's own runtime
    fixed: Optional[c_void_p] = None                    # over a program of fixed shapes
    raised: Optional[List[BaseException]] = None        # by its runner: raised when the library has returned


def _read_call(c: _native.ForwardCall) -> ForwardCall:
    n = c.n_rows
    return ForwardCall(ids=c.ids[:c.n_ids], start=c.start,
                       context=[(s.begin, s.end) for s in c.context[:c.n_context] if s.end > s.begin],
                       attn_block=c.attn_block, n_store=c.n_store, rows=c.rows[:n] if c.rows else list(range(n)))


def write_logits(result: Any, n_rows: int, vocab: int, target: Any) -> None:
    """Copies rows of logits [n_rows, vocab] of any array kind to a float32 buffer (a ctypes pointer)."""
    shape = getattr(result, "shape", None)
    if shape is not None and tuple(shape) != (n_rows, vocab):
        raise ValueError(f"the forward function returned logits of shape {tuple(shape)}; expected ({n_rows}, {vocab})")
    if hasattr(result, "data_ptr"):                 # torch
        import torch
        rows = result.detach().to(device="cpu", dtype=torch.float32).contiguous()
        ctypes.memmove(target, rows.data_ptr(), n_rows * vocab * 4)
    elif hasattr(result, "__array_interface__"):    # numpy
        import numpy
        rows = numpy.ascontiguousarray(result, dtype=numpy.float32)
        ctypes.memmove(target, rows.ctypes.data, n_rows * vocab * 4)
    else:
        if len(result) != n_rows or any(len(row) != vocab for row in result):
            raise ValueError(f"the forward function returned {len(result)} rows of logits; expected {n_rows} rows of "
                             f"{vocab}")
        for i, row in enumerate(result):
            floats = row if isinstance(row, array) and row.typecode == "f" else array("f", row)
            address, _ = floats.buffer_info()
            ctypes.memmove(ctypes.byref(target.contents, i * vocab * 4), address, vocab * 4)


class _Callbacks:
    """The two callbacks of a dlx_generate, and what they leave behind: exceptions cannot pass through C, so they are
    kept here, the library is told to stop, and they are raised when it has returned. What they call is run by the
    job's caller."""

    def __init__(self, job: running.Job, vocab: int, forward: Optional[ForwardFn],
                 on_step: "Optional[OnStep]") -> None:
        self.job = job
        self.vocab = vocab
        self.error: Optional[BaseException] = None
        self._forward = forward
        self._on_step = on_step
        self.forward_fn = _native.FORWARD_FN(self._call_forward)
        self.step_fn = _native.STEP_FN(self._call_step)

    def pick(self, native: Optional[NativeForward]) -> Tuple[c_void_p, Optional[c_void_p]]:
        """(forward function, its first argument): the library's own, or the callback."""
        if native is None:
            return ctypes.cast(self.forward_fn, c_void_p), None
        return ctypes.cast(getattr(_native.library(), native.function), c_void_p), native.context

    def _call_forward(self, _: Any, call: Any, err: Any) -> int:
        try:
            assert self._forward is not None
            c = call.contents
            result = self.job.ask(self._forward, _read_call(c))
            if c.n_rows:
                write_logits(result, c.n_rows, self.vocab, c.logits)
            return _native.OK
        except running.Abandoned:
            if err:
                err.contents.status = _native.E_CANCELLED
                err.contents.message = b"the decode was cancelled"
            return _native.E_CANCELLED
        except BaseException as error:  # noqa: B902 - raised again behind the C call
            self.error = error
            status = error.status if isinstance(error, DlxError) else _native.E_CANCELLED
            if err:
                err.contents.status = status
                err.contents.message = str(error).encode("utf-8", "replace")[:500]
            return status

    def _call_step(self, _: Any, step: Any, ids: Any, n: int) -> bool:
        return self.job.allows(self.keep, self._on_step, lambda: (_read_step(step.contents), ids[:n]))

    def keep(self, error: BaseException) -> None:
        """Has finish raise it."""
        self.error = error

    def finish(self, status: int, message: str) -> None:
        """Raises what a callback raised, or the library's own error."""
        if self.error is not None:
            raise self.error
        if status != _native.OK:
            raise error_from_status(status, message)


# ---- generations -----------------------------------------------------------------------------------------------------

class Accepted(NamedTuple):
    """A position that became a token."""

    position: int      # absolute
    id: int
    confidence: float  # the score that ranked it: probability, margin or negative entropy


class Step(NamedTuple):
    """One step of a decode: a model call and what it decided."""

    block: int                 # -1: prefill
    start: int                 # first position run
    rows: int                  # positions run
    cached: int                # cached positions attended
    accepted: List[Accepted]   # ascending positions; may be empty
    milliseconds: float


OnStep = Callable[[Step, List[int]], Optional[bool]]


def _read_step(s: _native.Step) -> Step:
    accepted = [Accepted(a.position, a.id, a.confidence) for a in s.accepted[:s.n_accepted]] if s.n_accepted else []
    return Step(s.block, s.start, s.rows, s.cached, accepted, s.milliseconds)


class Token(NamedTuple):
    """A token of an answer, and how it became one."""

    id: int
    position: int      # absolute
    confidence: float  # the score that ranked it when it was revealed: probability, margin or negative entropy
    step: int          # which of the steps revealed it
    text: str          # "" without a tokenizer; a part of a character is U+FFFD


@dataclasses.dataclass(frozen=True, repr=False)
class Generation:
    """A finished decode. In a notebook it shows how the answer came out of the masks."""

    algorithm: str          # e.g. "sdar.generate"
    prompt_length: int
    output_ids: List[int]   # the published algorithm's ids, prompt included
    answer_ids: List[int]   # generated ids without the prompt, cut before the first stop id, no masks
    finish_reason: str      # "stop" (at a stop id), "length", or "cancelled" (on_step returned False)
    num_forwards: int       # model calls
    steps: List[Step]

    def __repr__(self) -> str:
        return (f"<Generation by {self.algorithm}: {len(self.answer_ids)} tokens, {self.num_forwards} model calls, "
                f"{self.finish_reason}>")

    def _repr_html_(self) -> str:
        return denoising_html(self, {})

    @property
    def milliseconds(self) -> float:
        """Wall time of all steps."""
        return sum(s.milliseconds for s in self.steps)

    def tokens(self, texts: Optional[Mapping[int, str]] = None) -> List[Token]:
        """The answer's tokens with their confidence and the step that revealed each. One that was revealed again counts by
        the last time. texts: of ids, for the tokens' own."""
        revealed: Dict[int, Tuple[Accepted, int]] = {}
        for i, step in enumerate(self.steps):
            for accepted in step.accepted:
                revealed[accepted.position] = accepted, i
        # Masks that published decoders leave are no part of the answer, so places are found by walking along.
        out, positions = [], iter(sorted(p for p in revealed if p >= self.prompt_length))
        for token in self.answer_ids:
            place = next((p for p in positions if revealed[p][0].id == token), None)
            if place is None:
                break
            accepted, i = revealed[place]
            out.append(Token(token, place, accepted.confidence, i, (texts or {}).get(token, "")))
        return out

    @property
    def confidences(self) -> List[float]:
        """The confidence of each token of the answer."""
        return [token.confidence for token in self.tokens()]

    @property
    def stop_id(self) -> Optional[int]:
        """The id that ended the answer; None when it ended by length."""
        end = self.prompt_length + len(self.answer_ids)
        if self.finish_reason == "stop" and end < len(self.output_ids):
            return self.output_ids[end]
        return None


def _read_generation(handle: c_void_p, n_prompt: int) -> Generation:
    library = _native.library()
    n = c_size_t()
    output = library.dlx_generation_output_ids(handle, byref(n))[:n.value]
    answer_pointer = library.dlx_generation_answer_ids(handle, byref(n))
    answer = answer_pointer[:n.value] if n.value else []
    steps, step = [], _native.Step()
    for i in range(library.dlx_generation_num_steps(handle)):
        library.dlx_generation_step(handle, i, byref(step))
        steps.append(_read_step(step))
    return Generation(
        algorithm=library.dlx_generation_algorithm(handle).decode(), prompt_length=n_prompt, output_ids=output,
        answer_ids=answer, finish_reason=library.dlx_generation_finish_reason(handle).decode(),
        num_forwards=library.dlx_generation_num_forwards(handle), steps=steps)


def _to_ids(ids: Any) -> Any:
    """(ctypes int32 array, number) of any sequence of whole numbers; ValueError for other values."""
    if isinstance(ids, (bytes, bytearray)):
        raise ValueError(f"token ids must be a sequence of whole numbers below 2**31, not {type(ids).__name__}")
    try:
        if not (hasattr(ids, "dtype") or isinstance(ids, (array, range))):
            ids = list(ids)
            for i in ids:
                if isinstance(i, bool):     # a comparison in place of an id
                    raise TypeError(f"{i!r} is none")
        values = array("i", [operator.index(i) for i in ids])
    except (TypeError, OverflowError) as error:
        raise ValueError(f"token ids must be a sequence of whole numbers below 2**31: {error}") from None
    n = len(values)
    return (c_int32 * max(1, n)).from_buffer(values or array("i", [0])), n


def generate(forward: Union[ForwardFn, Any], prompt: Sequence[int], *, facts: Optional[ModelFacts] = None,
             on_step: Optional[OnStep] = None,
             options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[DecodeOptions]") -> Generation:
    """Decodes with the algorithm that `algorithm=` names, or the model family's.

    forward   a Session, a Seat, or a callable ForwardCall -> logits [len(call.rows), vocab_size]
    prompt    token ids, at least one, each in [0, vocab_size)
    facts     the model's facts; not needed with a Session or a Seat
    on_step   called as on_step(step, ids) after every step; `ids` is a copy of the whole canvas, mask ids where nothing
              is decided. Returning False ends the decode: the generation then holds what was known by then, with
              finish_reason "cancelled". An exception ends it, too, and comes out of generate
    options, keywords   decode options by name (decode_options() lists them); None leaves one unset

    ValueError (InvalidArgumentError, LimitError) for wrong arguments and for what does not fit the context.
    """
    ids, decode = _to_ids(prompt), {**(options or {}), **keywords}
    result: Generation = run_with(forward, facts, "generate", lambda job, function, native, of: _generate(
        job, function, native, of, ids, on_step, decode))
    return result


def run_with(forward: Union[ForwardFn, Any], facts: Optional[ModelFacts], name: str,
             work: Callable[[running.Job, Optional[ForwardFn], Optional[NativeForward], ModelFacts], Any]) -> Any:
    """work(job, forward function of Python, that of the library, facts) as a job, for what generate takes as `forward` and
    `facts`: one of the two functions is None. name: of the function that was called, for the message"""
    timeline: Any = forward
    if hasattr(timeline, "_borrow_forward"):
        def run(job: running.Job) -> Any:
            with timeline._borrow_forward() as native:
                try:
                    return work(job, None, native, facts or timeline.model.facts)
                except DlxError:
                    if native.raised:
                        raise native.raised.pop() from None
                    raise
        return running.run(run, *timeline._scopes())
    if facts is None:
        raise ValueError(f"a forward function needs the model's facts as well: {name}(forward, prompt, facts=...)")
    given = facts
    return running.run(lambda job: work(job, forward, None, given))


def _generate(job: running.Job, forward: Optional[ForwardFn], native: Optional[NativeForward], facts: ModelFacts,
              prompt: Any, on_step: Optional[OnStep],
              options: Dict[str, Any]) -> Generation:
    library = _native.library()
    ids, n = prompt
    native_facts = facts.to_native()
    callbacks = _Callbacks(job, facts.vocab_size, forward, on_step)
    forward_fn, context = callbacks.pick(native)
    out, error = c_void_p(), _native.Error()
    with _Options(options) as handle:
        status = library.dlx_generate(byref(native_facts), forward_fn, context, handle, ids, n, callbacks.step_fn, None,
                                      byref(out), byref(error))
    try:
        callbacks.finish(status, error.message.decode("utf-8", "replace"))
        return _read_generation(out, n)
    finally:
        library.dlx_generation_free(out)


@functools.lru_cache(maxsize=1)
def _numpy() -> Any:
    """The module, or None. Looking for one that is not there takes long each time."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def logits_buffer(n_rows: int, vocab: int) -> Tuple[Any, Any]:
    """(rows of logits, float pointer to them): a numpy array [n_rows, vocab], or memoryviews where numpy is absent."""
    numpy = _numpy()
    if numpy is None:
        flat = (c_float * max(1, n_rows * vocab))()
        view = memoryview(flat).cast("B").cast("f")
        return [view[i * vocab:(i + 1) * vocab] for i in range(n_rows)], ctypes.cast(flat, POINTER(c_float))
    rows = numpy.empty((n_rows, vocab), dtype=numpy.float32)
    return rows, rows.ctypes.data_as(POINTER(c_float))


def spans(context: Optional[Sequence[Tuple[int, int]]], start: int) -> Iterator[Tuple[int, int]]:
    """The spans of a call: everything before `start` where none are given."""
    if context is None:
        return iter([(0, start)] if start > 0 else [])
    return iter([(int(a), int(b)) for a, b in context])
