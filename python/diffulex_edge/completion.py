"""Completions: text in, text out, around a decode.

complete() runs a decode to its end and returns a Completion; it takes a Session, a Seat or any forward function, as
generate() does; Model and Session have it as a method. streams.py has it as an iterator.
"""
import contextlib
import ctypes
import dataclasses
import html
from ctypes import POINTER, byref, c_char_p, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from . import _native, running
from .decode import (
    ForwardFn,
    Generation,
    ModelFacts,
    NativeForward,
    OnStep,
    Token,
    _Callbacks,
    _Options,
    _read_generation,
    _to_ids,
    run_with,
)
from .show import denoising_html

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import DecodeOptions
    from .text import Tokenizer

__all__ = ["Completion", "Statistics", "complete"]

OnText = Callable[[str], Optional[bool]]


class Statistics(NamedTuple):
    """Numbers of one completion."""

    prompt_tokens: int
    cached_tokens: int     # prompt tokens whose keys and values were in the cache before
    new_tokens: int        # length of the answer
    forwards: int          # model calls in all
    prefill_forwards: int
    blocks: int            # blocks that were worked on
    rows: int              # positions computed, summed over calls
    cached_rows: int       # positions attended from the cache instead of being computed, summed over calls
    prefill_ms: float
    decode_ms: float

    @property
    def tokens_per_forward(self) -> float:
        """Answer tokens for each model call behind the prefill; 0 when there was none."""
        passes = self.forwards - self.prefill_forwards
        return self.new_tokens / passes if passes else 0.0

    @property
    def cache_hit_rate(self) -> float:
        """Share of the attended positions that came from the cache."""
        total = self.rows + self.cached_rows
        return self.cached_rows / total if total else 0.0


@dataclasses.dataclass(frozen=True, repr=False)
class Completion:
    """A finished completion. str() of it is the text; in a notebook it shows how the text came out of the masks."""

    text: str                # the answer; "" without a tokenizer
    ids: List[int]           # ids of the answer, those behind a stop string left out
    finish_reason: str       # "stop" (stop id or stop string), "length", or "cancelled"
    statistics: Statistics
    generation: Generation   # the trace: steps, output_ids, algorithm
    _texts: Dict[int, str] = dataclasses.field(default_factory=dict, compare=False)  # of the ids that were revealed

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return (f"<Completion {text!r}: {len(self.ids)} tokens, {self.statistics.forwards} model calls, "
                f"{self.finish_reason}>")

    def _repr_html_(self) -> str:
        return f"<p style=\"white-space:pre-wrap\">{html.escape(self.text)}</p>" + denoising_html(self.generation, self._texts)

    @property
    def tokens(self) -> List[Token]:
        """The answer's tokens: id, position, confidence, step, text."""
        return self.generation.tokens(self._texts)[:len(self.ids)]

    @property
    def confidences(self) -> List[float]:
        """The confidence of each of the ids: the score that ranked it when it was revealed."""
        return [token.confidence for token in self.tokens]

    def __str__(self) -> str:
        return self.text


class _TextCallback:
    """on_text with exceptions kept for later, as _Callbacks does for the others."""

    def __init__(self, callbacks: _Callbacks, on_text: Optional[OnText]) -> None:
        self._callbacks = callbacks
        self._on_text = on_text
        self.function = _native.TEXT_FN(self._call) if on_text else _native.TEXT_FN()

    def _call(self, _: Any, text: Any, n: int) -> bool:
        return self._callbacks.job.allows(self._callbacks.keep, self._on_text, lambda: (
            ctypes.string_at(text, n).decode("utf-8", "replace") if n else "",))


def complete(forward: Union[ForwardFn, Any], prompt: Sequence[int], *, facts: Optional[ModelFacts] = None,
             tokenizer: "Optional[Tokenizer]" = None, reuse: bool = False,
             stop: Union[str, Sequence[str], None] = None, keep_special: bool = False,
             on_text: Optional[OnText] = None, on_step: Optional[OnStep] = None,
             options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[DecodeOptions]") -> Completion:
    """Decodes a prompt to the end.

    forward       a Session, a Seat, or a callable ForwardCall -> logits [len(call.rows), vocab_size]
    prompt        token ids, at least one
    facts         the model's facts; not needed with a Session or a Seat
    tokenizer     turns the answer into text; without one there is no text and there can be no stop strings
    reuse         with a Session or a Seat: take over what its last call left in the cache and this prompt begins with (a chat's
                  history). Block-causal attention only, where it is exact; others run everything
    stop          a stop string, or several: the answer ends before the first that occurs
    keep_special  special tokens appear in the text
    on_text       called as on_text(piece) when text became final: append-only, whole characters, never the beginning of
                  a stop string. Returning False cancels
    on_step       called as on_step(step, ids) after every model call; see generate()
    options, keywords   decode options by name (decode_options() lists them)

    ValueError for wrong arguments and for what does not fit the context. Cancelling is no error: finish_reason tells.
    """
    decode = {**(options or {}), **keywords}
    ids = _to_ids(prompt)
    result: Completion = run_with(forward, facts, "complete", lambda job, function, native, of: _complete(
        job, function, native, of, ids, tokenizer, reuse, stop, keep_special, on_text, on_step, decode))
    return result


def stop_strings(stop: Union[str, Sequence[str], None]) -> List[bytes]:
    try:
        strings = [stop] if isinstance(stop, str) else [] if stop is None else list(stop)
    except TypeError:
        raise ValueError(f"stop must be a text, or a list of texts; got {stop!r} (ids of tokens are stop_ids=)") from None
    for text in strings:
        if not isinstance(text, str) or not text or "\0" in text:
            raise ValueError(f"a stop string must be text, not empty and without NUL characters; got {text!r}")
    return [text.encode("utf-8", "surrogatepass") for text in strings]


def _complete(job: running.Job, forward: Optional[ForwardFn], source: Optional[NativeForward], facts: ModelFacts,
              prompt: Any, tokenizer: "Optional[Tokenizer]", reuse: bool, stop: Union[str, Sequence[str], None],
              keep_special: bool, on_text: Optional[OnText], on_step: Optional[OnStep],
              decode: Dict[str, Any]) -> Completion:
    library = _native.library()
    strings = stop_strings(stop)
    if tokenizer is None and (strings or on_text):
        raise ValueError("stop strings and streamed text need a tokenizer")
    ids, n = prompt
    native_facts = facts.to_native()
    callbacks = _Callbacks(job, facts.vocab_size, forward, on_step)
    text_callback = _TextCallback(callbacks, on_text)
    forward_fn, context = callbacks.pick(source)
    native = _native.CompletionOptions()
    stop_array = (c_char_p * max(1, len(strings)))(*strings)
    native.session, native.fixed = (source.session, source.fixed) if source is not None and reuse else (None, None)
    native.stop, native.n_stop = ctypes.cast(stop_array, POINTER(c_char_p)), len(strings)
    native.keep_special = keep_special
    native.on_text = text_callback.function
    native.on_step = callbacks.step_fn
    out, error = c_void_p(), _native.Error()
    with contextlib.ExitStack() as held:
        if tokenizer is not None:
            native.tokenizer = held.enter_context(tokenizer._handle.use())
        native.decode = held.enter_context(_Options(decode, tokenizer))
        status = library.dlx_complete(byref(native_facts), forward_fn, context, byref(native), ids, n, byref(out),
                                      byref(error))
    try:
        callbacks.finish(status, error.message.decode("utf-8", "replace"))
        return _read_completion(out, n, tokenizer)
    finally:
        library.dlx_completion_free(out)


def _read_completion(handle: c_void_p, n_prompt: int, tokenizer: "Optional[Tokenizer]") -> Completion:
    library = _native.library()
    n = c_size_t()
    address = library.dlx_completion_text(handle, byref(n))
    text = ctypes.string_at(address, n.value).decode("utf-8", "replace") if n.value else ""
    pointer = library.dlx_completion_ids(handle, byref(n))
    ids = pointer[:n.value] if n.value else []
    numbers = _native.Statistics()
    _native.call("dlx_completion_statistics", handle, byref(numbers))
    generation = _read_generation(c_void_p(library.dlx_completion_generation(handle)), n_prompt)
    texts: Dict[int, str] = {}
    if tokenizer is not None:
        revealed = {accepted.id for step in generation.steps for accepted in step.accepted}
        with contextlib.suppress(ValueError):   # closed meanwhile, with the model
            texts = {i: tokenizer.decode([i]) for i in revealed}
    return Completion(text=text, ids=ids, finish_reason=library.dlx_completion_finish_reason(handle).decode(),
                      statistics=Statistics(*(getattr(numbers, name) for name in Statistics._fields)),
                      generation=generation, _texts=texts)
