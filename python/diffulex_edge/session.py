"""Models and sessions: an opened .pte and one mutable timeline over it.

A Model (packed weights and other constants) is immutable and may be shared between threads. A Session (what is cached of one
sequence) is used by one thread at a time; a second thread gets a RuntimeError, not a race. Both are context managers.
Closing a model cancels what runs on it and closes all that was opened from it. workspace.py has what many sessions share.
"""
import ctypes
import json
import os
import warnings
from ctypes import byref, c_void_p
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
    overload,
)

from . import _native, running
from ._native import PathLike
from .completion import Completion, complete
from .decode import Generation, ModelFacts, NativeForward, OnStep, _to_ids, generate, logits_buffer, spans
from .errors import DlxError, FileMissingError, FolderError, FormatError, LimitError, UnsupportedError
from .handles import Borrow, Handle, Turn, WeakRefs, using
from .opened import Opened
from .streams import CompletionStream, stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .jsonl import FileStatistics
    from .options import DecodeOptions, GenerateOptions
    from .text import Tokenizer
    from .threads import ThreadPool
    from .workspace import Seat, Workspace

# What is decoded: text (a question for a chat model, as it is for others), chat messages, or token ids.
Prompt = Union[str, Sequence[int], Sequence[Mapping[str, Any]]]
# Several of them. Not a Sequence of texts, which a text is, too.
Prompts = Union[List[str], Tuple[str, ...], Sequence[Sequence[int]], Sequence[Sequence[Mapping[str, Any]]]]

__all__ = ["Memory", "Model", "Session", "Timeline", "inspect", "inspect_graph"]

# Keywords of generate and stream that are for the chat template.
TEMPLATE_KEYWORDS = ("tools", "documents", "enable_thinking", "chat_template", "chat_template_kwargs")


def split_keywords(keywords: Any) -> Tuple[Dict[str, Any], Any]:
    """(those for the chat template, decode options)"""
    return ({name: value for name, value in keywords.items() if name in TEMPLATE_KEYWORDS},
            {name: value for name, value in keywords.items() if name not in TEMPLATE_KEYWORDS})


PACK_CACHE_STATES = (None, "found", "made", "failed")    # dlx_pack_cache_state


class Memory(NamedTuple):
    """Bytes, known before anything is allocated."""

    file: int         # what of the file stays in memory: program, tables, norms
    packed: int       # weights rearranged for the kernels, per model
    kv_cache: int     # per workspace, all its pages
    activations: int  # per workspace: the largest pass, and tables; its sessions' tables as well
    program: int = 0  # what describes the program, per model: its graph, tables, threads
    shared: int = 0   # of `packed`: mapped from a file of the pack cache, in memory once for all processes that do so

    @property
    def total(self) -> int:
        """All of them together."""
        return self.file + self.packed + self.kv_cache + self.activations + self.program


def _memory(model: "Model", options: _native.WorkspaceOptions) -> Memory:
    out = _native.Memory()
    with model._handle.use() as pointer:
        _native.call("dlx_workspace_memory", pointer, byref(options), byref(out))
    return Memory(out.file, out.packed, out.kv_cache, out.activations, out.program, out.shared)


def _workspace_options(max_rows: int, max_context: int, max_sessions: int, kv_positions: int,
                       kv_type: Optional[str]) -> _native.WorkspaceOptions:
    return _native.WorkspaceOptions(max_rows=max_rows, max_context=max_context, max_sessions=max_sessions,
                                    kv_positions=kv_positions, kv_type=_native.optional_text(kv_type))


def _open_workspace(model: "Model", options: _native.WorkspaceOptions) -> Handle:
    with model._handle.use() as pointer:
        return Handle("the workspace",
                      lambda out: _native.call("dlx_workspace_open", out, pointer, byref(options)),
                      _native.library().dlx_workspace_close, model._handle)


def require_file(path: PathLike) -> None:
    """FileNotFoundError "PTE file not found: ..." where nothing is; IsADirectoryError for a folder; ValueError for one
    with a NUL character."""
    _native.encode_path(path)
    if os.path.isdir(path):
        raise FolderError(f"{os.fsdecode(path)} is a folder, not a .pte; a checkpoint folder becomes one with "
                          "diffulex_edge.export_checkpoint, or opens with Model.from_pretrained")
    if not os.path.exists(path):
        raise FileMissingError(f"PTE file not found: {os.fsdecode(path)}")


class Speaker(Opened):
    """What of a .pte concerns text: its tokenizer, and prompts."""

    path: str
    _tokenizer: "Optional[Tokenizer]"
    _no_tokenizer: Optional[DlxError]   # why there is none

    def _take_tokenizer(self, opens: "Callable[[], Tokenizer]") -> None:
        """Now, because the path may soon mean another file. What is wrong with it concerns those who need it."""
        try:
            self._tokenizer = opens()
        except DlxError as error:
            self._no_tokenizer = error

    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that travels in the file; UnsupportedError when it carries none. Read with the model, shared, and
        closed with it."""
        tokenizer, wrong = self._tokenizer, self._no_tokenizer
        if wrong is not None:
            raise type(wrong)(*wrong.args)
        if tokenizer is None:
            raise ValueError(f"the model {self.path} is closed")
        return tokenizer

    def _tokenizer_if(self, needed: bool) -> "Optional[Tokenizer]":
        """None where the file carries none that is not needed."""
        try:
            return self.tokenizer()
        except UnsupportedError:
            if needed:
                raise
            return None

    def prompt_ids(self, prompt: Prompt, *, chat: Optional[bool] = None, special: bool = False,
                   **template: Any) -> List[int]:
        """Token ids of a prompt.

        prompt    text; or messages [{"role": "user", "content": "..."}, ...]; or token ids, which are taken as they are
        chat      text only. True: it becomes a user's turn in the file's chat template; False: it is encoded as it is;
                  None: True where the file has a template
        special   text without template only: added tokens written in it ("<|mask|>") become their ids
        template  tools, enable_thinking, chat_template_kwargs ...: see Tokenizer.apply_chat_template
        """
        if isinstance(prompt, (bytes, bytearray, memoryview)):
            raise ValueError(f"the prompt is {type(prompt).__name__}; give text (prompt.decode()) or token ids")
        if isinstance(prompt, str):
            tokenizer = self.tokenizer()
            if chat is None:
                chat = not special and (tokenizer.has_chat_template or "chat_template" in template)
            if not chat:
                return tokenizer.encode(prompt, special=special, around=True)
            if "\0" in prompt:
                raise ValueError("the prompt contains a NUL character, which a chat message cannot hold; chat=False takes it "
                                 "as it is")
            return tokenizer.apply_chat_template([{"role": "user", "content": prompt}], **template)
        items: List[Any] = list(prompt)
        if items and all(isinstance(item, Mapping) or hasattr(item, "model_dump") for item in items):
            return self.tokenizer().apply_chat_template(items, **template)
        native, n = _to_ids(items)
        return list(native[:n])


class Model(Speaker):
    """An opened .pte.

    path      the file
    threads   0: one for each available core; results do not depend on it
    cpu       kernel set: None or "auto", "ref", "avx2", "avx-vnni", "avx512", "avx512vnni", "amx", "neon", "neon-dotprod"
    pool      a ThreadPool that it shares with other models, instead of threads of its own
    pack_cache  a folder: packed weights are kept there in a file, which later processes map instead of packing anew, and
              share. Without one, each process has its own. `model.pack_cache` says what came of it: "found", "made",
              "failed" (with a RuntimeWarning that says why; the model works all the same), or None

    FileNotFoundError when there is no such file; RuntimeError (FormatError, UnsupportedError) for a file that is
    damaged or holds what this runtime cannot execute.
    """

    def __init__(self, path: PathLike, *, threads: int = 0, cpu: Optional[str] = None,
                 pool: "Optional[ThreadPool]" = None, pack_cache: Optional[PathLike] = None) -> None:
        from .text import Tokenizer
        require_file(path)
        self._open("dlx_model_open", (_native.encode_path(path),), os.fsdecode(path), threads, cpu, pool, pack_cache)
        self._take_tokenizer(lambda: Tokenizer.from_pte(path))

    def _open(self, function: str, source: Tuple[Any, ...], name: str, threads: int, cpu: Optional[str],
              pool: "Optional[ThreadPool]", pack_cache: Optional[PathLike] = None) -> None:
        library = _native.library()
        options = _native.ModelOptions(threads=threads, cpu=_native.optional_text(cpu),
                                       pool=pool._handle.pointer if pool else None,
                                       pack_cache=_native.optional_path(pack_cache))
        self.path = name
        self._handle = Handle(f"the model {self.path}",
                              lambda out: _native.call(function, out, *source, byref(options)),
                              library.dlx_model_close, *([pool._handle] if pool else []))
        handle = self._handle.pointer
        self._sessions: "WeakRefs[Session]" = WeakRefs()
        self._workspaces: "WeakRefs[Workspace]" = WeakRefs()
        self._idle: List[Session] = []                  # those of generate(), when not at work
        self._tokenizer = self._no_tokenizer = None
        self.facts = ModelFacts.from_native(library.dlx_model_get_facts(handle).contents)
        self.kernels: str = library.dlx_model_kernels(handle).decode()
        why = ctypes.c_char_p()
        self.pack_cache = PACK_CACHE_STATES[library.dlx_model_pack_cache(handle, byref(why))]
        if self.pack_cache == "failed":
            warnings.warn(f"{self.path}: weights are packed in this process' own memory: {(why.value or b'').decode()}",
                          RuntimeWarning, stacklevel=3)

    @classmethod
    def _of(cls, function: str, source: Tuple[Any, ...], name: str, threads: int, cpu: Optional[str],
            pool: "Optional[ThreadPool]", pack_cache: Optional[PathLike], tokenizer: "Callable[[], Tokenizer]") -> "Model":
        model = cls.__new__(cls)
        model._open(function, source, name, threads, cpu, pool, pack_cache)
        model._take_tokenizer(tokenizer)
        return model

    @classmethod
    def from_fd(cls, fd: _native.Descriptor, *, threads: int = 0, cpu: Optional[str] = None,
                pool: "Optional[ThreadPool]" = None, pack_cache: Optional[PathLike] = None) -> "Model":
        """From an open descriptor of a .pte, or an open file, which stays yours and is needed during the call only; its
        position does not matter and is not moved."""
        from .text import Tokenizer
        fd = _native.descriptor(fd)
        return cls._of("dlx_model_open_fd", (fd,), f"<file descriptor {fd}>", threads, cpu, pool, pack_cache,
                       lambda: Tokenizer.from_pte_fd(fd))

    @classmethod
    def from_bytes(cls, data: Any, *, threads: int = 0, cpu: Optional[str] = None,
                   pool: "Optional[ThreadPool]" = None) -> "Model":
        """From the bytes of a .pte (bytes, bytearray, memoryview, mmap, ...), which are needed during the call only."""
        from .text import Tokenizer
        address, n = _native.address_of(data)
        return cls._of("dlx_model_open_memory", (address, n), f"<memory of {n} bytes>", threads, cpu, pool, None,
                       lambda: Tokenizer.from_pte_bytes(data))

    @classmethod
    def from_pretrained(cls, name: PathLike, *, quantization: str = "int8-dynamic", backend: str = "xnnpack",
                        model_type: Optional[str] = None, max_seq_len: int = 0, max_rows: int = 0, block_size: int = 0,
                        mask_id: int = 0, chat_template: Optional[PathLike] = None,
                        cache_dir: Optional[PathLike] = None,
                        progress: Optional[Callable[[int, int], Optional[bool]]] = None, threads: int = 0,
                        cpu: Optional[str] = None, pool: "Optional[ThreadPool]" = None,
                        pack_cache: Optional[PathLike] = None) -> "Model":
        """A checkpoint as a model: exported once into a cache folder, then opened from there.

        name        a checkpoint folder, or "org/name" in the Hugging Face cache (nothing is downloaded)
        cache_dir   None: DIFFULEX_EDGE_CACHE, or diffulex-edge below XDG_CACHE_HOME or ~/.cache
        quantization to chat_template, progress   see export_checkpoint; threads to pack_cache   see Model

        A checkpoint that has changed, and other settings, are exported anew; so is a file of the cache that turns out to be
        damaged. The exceptions are those of export_checkpoint and Model; OSError for a cache folder that cannot be used.
        """
        from .export.native import export_backends
        from .pretrained import cached_export
        own, *others = [known.name for known in export_backends()]
        if backend.lower() in others:
            raise UnsupportedError(f"Model opens programs of backend {own}, not of {backend}, which the official runtime runs: "
                                   "write a file with export_checkpoint, and open that with "
                                   'InferenceEngine.from_pte(path, runtime="executorch")')
        settings = dict(backend=backend, quantization=quantization, model_type=model_type, max_seq_len=max_seq_len,
                        max_rows=max_rows, block_size=block_size, mask_id=mask_id, chat_template=chat_template)
        path, made = cached_export(name, cache_dir, settings, progress)
        try:
            return cls(path, threads=threads, cpu=cpu, pool=pool, pack_cache=pack_cache)
        except FormatError:     # cut short by a full disk, or by who copied the cache
            if made:
                raise
        path, _ = cached_export(name, cache_dir, settings, progress, again=True)
        return cls(path, threads=threads, cpu=cpu, pool=pool, pack_cache=pack_cache)

    def __repr__(self) -> str:
        state = "closed" if self._handle.closed else f"{self.facts.max_context} positions, {self.kernels}"
        return f"<Model {os.path.basename(self.path)}: {self.facts.family}, {state}>"

    def memory(self, max_rows: int = 0, max_context: int = 0, max_sessions: int = 1, kv_positions: int = 0,
               kv_type: str = "float32") -> Memory:
        """Bytes that a session, or a workspace of max_sessions, with these bounds takes; 0 means the file's bounds."""
        return _memory(self, _workspace_options(max_rows, max_context, max_sessions, kv_positions, kv_type))

    def session(self, max_rows: int = 0, max_context: int = 0, kv_type: str = "float32") -> "Session":
        """A new session of at most max_rows rows a call and max_context positions (0: the file's bounds), in memory of
        its own.

        kv_type   of cached keys and values: "float32" is exact, "float16" takes half the memory and keeps 11 bits,
                  "int8" about a quarter and keeps 8, of a scale for each token and head
        """
        own = _open_workspace(self, _workspace_options(max_rows, max_context, 1, 0, kv_type))
        session = Session(self, None, _open_session(own), max_rows, max_context, own)
        self._sessions.add(session)
        return session

    def workspace(self, max_rows: int = 0, max_context: int = 0, max_sessions: int = 0, kv_positions: int = 0,
                  kv_type: str = "float32") -> "Workspace":
        """Memory for many sessions that share passes and beginnings.

        max_rows       rows of one pass, all sessions together; 0: the file's bound
        max_context    positions of one session; 0: the file's bound
        max_sessions   open at one time, 1 to 1024; 0: 16
        kv_positions   stored by all sessions together, rounded up to pages of 64; shared ones count once. 0, or more
                       than that: all that the sessions can store
        kv_type        of cached keys and values: "float32" is exact, "float16" takes half the memory and keeps 11 bits,
                       "int8" about a quarter and keeps 8, of a scale for each token and head
        """
        from .workspace import Workspace
        return Workspace(self, max_rows, max_context, max_sessions, kv_positions, kv_type)

    @overload
    def generate(self, prompt: Prompt, *, chat: Optional[bool] = None, stop: Union[str, Sequence[str], None] = None,
                 keep_special: bool = False, on_text: Optional[Callable[[str], Optional[bool]]] = None,
                 on_step: Optional[OnStep] = None, options: Optional[Mapping[str, Any]] = None,
                 **keywords: "Unpack[GenerateOptions]") -> Completion: ...

    @overload
    def generate(self, prompt: Prompts, *, chat: Optional[bool] = None,
                 stop: Union[str, Sequence[str], None] = None, keep_special: bool = False, batch_size: int = 8,
                 on_done: Optional[Callable[[int, Any], Optional[bool]]] = None,
                 options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[GenerateOptions]") -> List[Completion]: ...

    def generate(self, prompt: Any, *, chat: Optional[bool] = None, stop: Union[str, Sequence[str], None] = None,
                 keep_special: bool = False, on_text: Optional[Callable[[str], Optional[bool]]] = None,
                 on_step: Optional[OnStep] = None, batch_size: int = 8,
                 on_done: Optional[Callable[[int, Any], Optional[bool]]] = None,
                 options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[GenerateOptions]") -> Any:
        """Completes a prompt: text, chat messages or token ids (see prompt_ids). The result's str() is the answer.

        Takes the arguments of diffulex_edge.complete, those of the chat template (tools, documents, enable_thinking,
        chat_template, chat_template_kwargs) and any decode option by name. May be called from several threads: each call
        has a session of its own, which is kept for the next one.

        A list of prompts gives a list of completions, in their order. batch_size of them decode at a time and share
        passes, which changes no answer. on_done(place, completion) is called when one is finished, whichever comes
        first; a prompt that fails is an exception there, and the first of them is raised when the others are finished.
        Returning False from it ends all with Cancelled.
        """
        template, decode = split_keywords(keywords)
        if _is_many(prompt):
            if on_text is not None or on_step is not None:
                raise ValueError("on_text and on_step are for one prompt; a list of prompts has on_done")
            return self._generate_many(prompt, chat, template, batch_size, on_done, {
                "stop": stop, "keep_special": keep_special, "options": {**(options or {}), **decode}})
        if on_done is not None:
            raise ValueError("on_done is for a list of prompts")
        ids = self.prompt_ids(prompt, chat=chat, **template)
        return self._complete_idle(ids, stop=stop, keep_special=keep_special, on_text=on_text, on_step=on_step,
                                   options=options, **decode)

    def _generate_many(self, prompts: Sequence[Prompt], chat: Optional[bool], template: Dict[str, Any], batch_size: int,
                       on_done: Optional[Callable[[int, Any], Optional[bool]]], arguments: Dict[str, Any]) -> List[Any]:
        from .batches import complete_many
        ids = [self.prompt_ids(prompt, chat=chat, **template) for prompt in prompts]
        results = complete_many(self, ids, self._tokenizer_if(False), batch_size, arguments, on_done)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    def generate_file(self, source: PathLike, target: PathLike, *, batch_size: int = 8, resume: bool = True,
                      progress: Optional[bool] = None, chat: Optional[bool] = None,
                      stop: Union[str, Sequence[str], None] = None, keep_special: bool = False,
                      options: Optional[Mapping[str, Any]] = None,
                      **keywords: "Unpack[GenerateOptions]") -> "FileStatistics":
        """Completes the prompts of a JSON Lines file into another one.

        source       a line each: {"prompt": text}, {"messages": [...]} or {"ids": [...]}, with an "id" of yours, if you like,
                     and "tools", "enable_thinking" ... where they are not those of all lines; or text in quotation marks
                     alone. UTF-8
        target       a line each, in the same order: "text", "ids", "finish_reason", "statistics", your "id", and a "key"
                     of what it answers; "error" where a prompt failed. Wrong options fail before anything is written
        resume       a target that is there goes on behind its last whole line. ValueError where it answers other prompts,
                     was made with other options, or is something else. False: it is replaced
        progress     a bar on standard error, of tqdm where that is installed; None: on a terminal
        batch_size to keywords   see generate

        Each line is in the file as soon as those before it are, so nothing is lost by Ctrl-C or a crash. RuntimeError while
        another call, in whatever process, writes to the target.
        """
        from .jsonl import generate_file
        template, decode = split_keywords(keywords)
        return generate_file(self, source, target, batch_size=batch_size, resume=resume, progress=progress, chat=chat,
                             stop=stop, keep_special=keep_special, template=template, decode={**(options or {}), **decode})

    def stream(self, prompt: Prompt, *, chat: Optional[bool] = None, stop: Union[str, Sequence[str], None] = None,
               keep_special: bool = False, on_step: Optional[OnStep] = None,
               options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[GenerateOptions]") -> CompletionStream:
        """generate as an iterator over the text as it becomes final; see CompletionStream."""
        if "on_text" in keywords:
            raise ValueError("a stream hands out the text itself; use generate() with on_text")
        template, decode = split_keywords(keywords)
        ids = self.prompt_ids(prompt, chat=chat, **template)

        def run(emit: Callable[[str], Optional[bool]]) -> Completion:
            return self._complete_idle(ids, stop=stop, keep_special=keep_special, on_text=emit, on_step=on_step,
                                       options=options, **decode)
        self.tokenizer()
        return CompletionStream(run, self)

    def _complete_idle(self, ids: List[int], **arguments: Any) -> Completion:
        """Session.complete with a session that no call has."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self.session()
        try:
            return session.complete(ids, **arguments)
        finally:
            self._idle.append(session)

    def close(self) -> None:
        """Cancels the decodes that run on it, in whatever thread, and waits for them: they end with what they have,
        finish_reason "cancelled". Then closes the sessions, seats, batchers and workspaces, the tokenizer and the file;
        what another thread is calling at this moment goes when that call returns. Closing twice is fine; RuntimeError
        from a callback of one of the decodes."""
        running.end(self)
        for session in list(self._sessions):
            session._end()
        for workspace in list(self._workspaces):
            workspace._end()
        self._idle.clear()
        tokenizer, self._tokenizer = self._tokenizer, None
        if tokenizer is not None:
            tokenizer._handle.retire()
        self._handle.retire()

    def _end(self) -> None:
        self.close()


def _is_many(prompt: Any) -> bool:
    """Whether it is a list of prompts, and not one: a list of texts, of lists of ids or of lists of messages."""
    if isinstance(prompt, (str, bytes, Mapping)) or not isinstance(prompt, Sequence):
        return False
    return bool(prompt) and all(isinstance(item, str) or (isinstance(item, Sequence) and not isinstance(item, bytes))
                                or hasattr(item, "tolist") and getattr(item, "ndim", 0) == 1 for item in prompt)


def _open_session(workspace: Handle) -> Handle:
    with workspace.use() as pointer:
        return Handle("the session", lambda out: _native.call("dlx_session_open_in", out, pointer),
                      _native.library().dlx_session_close, workspace)


def _prepare(facts: ModelFacts, ids: Sequence[int], start: int = 0,
             context: Optional[Sequence[Tuple[int, int]]] = None, attn_block: Optional[int] = None,
             store: Union[bool, int] = False, rows: Optional[Sequence[int]] = None) -> Tuple[_native.ForwardCall, Any]:
    """(call of the library, logits that it writes) for the arguments of Timeline.forward."""
    native_ids, n = _to_ids(ids)
    row_list = list(range(n)) if rows is None else [int(r) for r in rows]
    native_rows, n_rows = _to_ids(row_list)
    parts = list(spans(context, start))
    if len(parts) > _native.MAX_CONTEXT_SPANS:
        raise ValueError(f"{len(parts)} context spans were given; at most {_native.MAX_CONTEXT_SPANS} are possible")
    n_store = (n if store else 0) if isinstance(store, bool) else int(store)
    logits, pointer = logits_buffer(n_rows, facts.vocab_size)
    call = _native.ForwardCall(ids=native_ids, n_ids=n, start=start, n_context=len(parts),
                               attn_block=facts.attn_block if attn_block is None else attn_block, n_store=n_store,
                               rows=native_rows, n_rows=n_rows, logits=pointer)
    for i, (begin, end) in enumerate(parts):
        call.context[i] = _native.Span(begin, end)
    return call, logits


class Timeline(Opened):
    """What a Session and a Seat can do: model calls, and decodes with them."""

    model: Any      # a Model, or what has facts and a tokenizer as it has

    def _borrow_forward(self) -> Borrow[NativeForward]:
        raise NotImplementedError

    def _scopes(self) -> Tuple[Any, ...]:
        """What a decode with it works on: closing one of them ends the decode."""
        raise NotImplementedError

    def forward(self, ids: Sequence[int], start: int = 0, context: Optional[Sequence[Tuple[int, int]]] = None,
                attn_block: Optional[int] = None, store: Union[bool, int] = False,
                rows: Optional[Sequence[int]] = None) -> Any:
        """One model call.

        ids         token ids at positions start, start+1, ...
        context     half-open ranges of cached positions that take part, at most two; default: everything before start
        attn_block  0: all rows see each other; else block-causal of this width; default: the model's
        store       True: keep keys and values of these rows in the cache; n: those of the first n rows (with
                    block-causal attention, n must end at a block's end)
        rows        indices into ids whose logits are wanted, ascending; default: all of them

        Returns float32 logits [len(rows), vocab_size]: a numpy array, or a list of memoryviews where numpy is not
        installed. ValueError for ids outside the vocabulary, positions outside the context, and a context that was
        never stored.
        """
        call, logits = _prepare(self.model.facts, ids, start, context, attn_block, store, rows)
        using(self._borrow_forward(), lambda native: _native.call(native.function, native.context, byref(call)))
        return logits

    def generate(self, prompt: Sequence[int], *, on_step: Optional[OnStep] = None,
                 options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[DecodeOptions]") -> Generation:
        """diffulex_edge.generate with it."""
        return generate(self, prompt, on_step=on_step, options=options, **keywords)

    def complete(self, prompt: Sequence[int], *, reuse: bool = False, stop: Union[str, Sequence[str], None] = None,
                 keep_special: bool = False, on_text: Optional[Callable[[str], Optional[bool]]] = None,
                 on_step: Optional[OnStep] = None, options: Optional[Mapping[str, Any]] = None,
                 **keywords: "Unpack[DecodeOptions]") -> Completion:
        """diffulex_edge.complete with it and the file's tokenizer.

        reuse   take over what the last call left in the cache and this prompt begins with (a chat's history): exactly
                what running it again would give, for block-causal models and algorithm ar.generate; others ignore it
        """
        return complete(self, prompt, tokenizer=self.model._tokenizer_if(bool(stop) or on_text is not None),
                        reuse=reuse, stop=stop, keep_special=keep_special, on_text=on_text, on_step=on_step,
                        options=options, **keywords)

    def stream(self, prompt: Sequence[int], *, reuse: bool = False, stop: Union[str, Sequence[str], None] = None,
               keep_special: bool = False, on_step: Optional[OnStep] = None,
               options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[DecodeOptions]") -> CompletionStream:
        """complete as an iterator over the text as it becomes final; see CompletionStream."""
        return stream(self, prompt, tokenizer=self.model.tokenizer(), reuse=reuse, stop=stop, keep_special=keep_special,
                      on_step=on_step, options=options, **keywords)


class Session(Timeline):
    """What is cached of one sequence; see Model.session and Workspace.session, which open one."""

    def __init__(self, model: Model, workspace: "Optional[Workspace]", native: Handle, max_rows: int, max_context: int,
                 own: Optional[Handle] = None) -> None:
        self.model = model
        self.workspace = workspace      # None: the session has memory of its own
        self.max_context = max_context or model.facts.max_context
        self.max_rows = min(max_rows or model.facts.max_rows, self.max_context)
        self._handle = native
        self._own = own                 # a workspace for it alone
        self._seats: "WeakRefs[Seat]" = WeakRefs()
        self._turn = Turn("the session is in use by another thread or by the call that this one is made from; open a "
                          "session for each")

    def __repr__(self) -> str:
        where = "" if self.workspace is None else " of a workspace"
        return f"<Session{where}, {'closed' if self._handle.closed else f'{self.max_context} positions'}>"

    def _borrow(self) -> Borrow[c_void_p]:
        return Borrow(lambda pointer, _: pointer, self._handle.use(), self._turn.take())

    def _borrow_forward(self) -> Borrow[NativeForward]:
        return Borrow(lambda pointer, _: NativeForward("dlx_session_forward", pointer, pointer),
                      self._handle.use(), self._turn.take())

    def _scopes(self) -> Tuple[Any, ...]:
        return self, self.workspace, self.model

    def fork(self, n: Optional[int] = None) -> "Session":
        """A new session of the workspace that holds what this one holds at positions < n (None: at all). Memory is shared
        until one of the two writes to it. LimitError when the workspace has no session left."""
        if self.workspace is None:
            raise LimitError("the session has memory of its own, which has no room for a second one; open it with "
                             "Workspace.session")
        end = self.max_context if n is None else n
        with self._borrow() as pointer:
            return self.workspace._admit(Handle(
                "the session", lambda out: _native.call("dlx_session_fork", out, pointer, end),
                _native.library().dlx_session_close, self.workspace._handle))

    def reusable(self, prompt: Sequence[int], attn_block: Optional[int] = None) -> int:
        """How many leading ids of a prompt are cached exactly as running them again would store them: a multiple of
        attn_block (default: the model's), 0 for full attention. The value of decode option n_cached."""
        ids, n = _to_ids(prompt)
        width = self.model.facts.attn_block if attn_block is None else attn_block
        with self._borrow() as handle:
            return int(_native.library().dlx_session_reusable(handle, ids, n, width))

    def truncate(self, n: int) -> None:
        """Forgets what was stored at positions >= n."""
        if n < 0:
            raise ValueError(f"{n} positions cannot be kept; 0 forgets all")
        with self._borrow() as handle:
            _native.library().dlx_session_truncate(handle, n)

    def close(self) -> None:
        """Gives back the session's memory. Closing twice is fine; RuntimeError while it is in use or has a seat."""
        if not self._handle.closed:
            with self._turn.take():
                self._handle.close("it has a seat at a batcher")
        if self._own is not None:
            self._own.close()

    def _parts(self) -> Iterator[Opened]:
        yield from list(self._seats)

    def _end(self) -> None:
        super()._end()
        if self._own is not None:
            self._own.retire()


def _take_text(pointer: c_void_p) -> str:
    return _native.take_bytes(pointer).decode("utf-8", "replace")


def inspect(path: PathLike, *, max_rows: int = 0, max_context: int = 0, max_sessions: int = 1, kv_positions: int = 0,
            kv_type: Optional[str] = None) -> Dict[str, Any]:
    """What a .pte contains: methods, inputs, metadata, delegates, memory, matrices that are not quantised.

    "memory" is what Model(path) and a session, or a workspace of max_sessions, with these bounds would take; see
    Model.workspace. kv_type None is the type that the file keeps, where its sessions have no choice, else "float32".
    No weights are read for it.

    The JSON object of `inspect --json`; metadata values are lists, one item for each output of the constant method. A
    file that this runtime cannot execute is described too, with "runnable": False and "reason".
    """
    require_file(path)
    out = c_void_p()
    options = _workspace_options(max_rows, max_context, max_sessions, kv_positions, kv_type)
    _native.call("dlx_inspect", _native.encode_path(path), True, byref(options), byref(out))
    report: Dict[str, Any] = json.loads(_take_text(out))
    return report


def inspect_method(path: PathLike, method: str = "forward") -> Dict[str, Any]:
    """One method as Method runs it: inputs, outputs, what runs fused ("runs"), and the "memory" that it takes.

    The object that inspect(path)["methods"] has for it. A program without that method is an UnsupportedError that names
    those that it has.
    """
    require_file(path)
    out = c_void_p()
    _native.call("dlx_inspect_method", _native.encode_path(path), method.encode(), True, byref(out))
    report: Dict[str, Any] = json.loads(_take_text(out))
    return report


def inspect_graph(path: PathLike, *, raised: bool = True, dot: bool = False, method: Optional[str] = None) -> str:
    """A graph as text or Graphviz: raised (as this runtime executes it) or as the file has it.

    method None: of `forward`, as sessions run it where they can; else of that method, as Method runs it.
    """
    require_file(path)
    out = c_void_p()
    if method is None:
        _native.call("dlx_inspect_graph", _native.encode_path(path), raised, dot, byref(out))
    else:
        _native.call("dlx_inspect_method_graph", _native.encode_path(path), method.encode(), raised, dot, byref(out))
    return _take_text(out)
