"""Text: tokenizers of the four families, incremental decoding, and chat templates."""
import ctypes
import dataclasses
import json
import os
from ctypes import POINTER, byref, c_int32, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import _native
from ._native import PathLike
from .decode import _to_ids
from .handles import Handle, only_here, using
from .session import require_file

if TYPE_CHECKING:
    from .constraint import Constraint

__all__ = ["TextStream", "Tokenizer", "render_chat"]

# A mapping, or an object with model_dump() or dict attributes, as the OpenAI client returns messages.
Message = Any


def _utf8(text: Union[str, bytes]) -> bytes:
    """UTF-8 of a text; lone surrogates become U+FFFD."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")


def _plain(value: Any) -> Any:
    """What json.dumps cannot write as what it stands for: mappings, and messages of client libraries."""
    if isinstance(value, Mapping):
        return dict(value)
    for name in ("model_dump", "to_dict"):
        function = getattr(value, name, None)
        if callable(function):
            return function()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise ValueError(f"chat messages, tools and variables of a template hold JSON values, not {type(value).__name__}")


def _json_bytes(value: Any, name: str) -> bytes:
    try:
        return _utf8(json.dumps(value, ensure_ascii=False, default=_plain))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None


def _json_text(value: Any, name: str) -> Optional[bytes]:
    """JSON of a value, in the form that Hugging Face's templates print; text is taken as JSON already."""
    if value is None:
        return None
    return _utf8(value) if isinstance(value, (str, bytes)) else _json_bytes(value, name)


class _Chat:
    """Messages and options as the library takes them; keeps the bytes alive."""

    def __init__(self, messages: Union[str, Sequence[Message]], tools: Any, documents: Any, add_generation_prompt: bool,
                 enable_thinking: Optional[bool], chat_template: Optional[str],
                 chat_template_kwargs: Optional[Mapping[str, Any]]) -> None:
        if isinstance(messages, Mapping):
            raise ValueError("messages are a list of mappings with role and content, not one of them")
        self.messages = _utf8(messages) if isinstance(messages, (str, bytes)) else _json_bytes(list(messages), "messages")
        thinking = 0 if enable_thinking is None else 1 if enable_thinking else -1
        template = None if chat_template is None else _utf8(chat_template)
        if template is not None and b"\0" in template:
            raise ValueError("the chat template holds a NUL character")
        self.options = _native.ChatOptions(
            add_generation_prompt=add_generation_prompt, enable_thinking=thinking, tools=_json_text(tools, "tools"),
            documents=_json_text(documents, "documents"), chat_template=template,
            template_kwargs=_json_text(chat_template_kwargs, "chat_template_kwargs"))


def render_chat(tokenizer: "Tokenizer", messages: Union[str, Sequence[Message]], *, tools: Any = None, documents: Any = None,
                add_generation_prompt: bool = True, enable_thinking: Optional[bool] = None,
                chat_template: Optional[str] = None, chat_template_kwargs: Optional[Mapping[str, Any]] = None) -> str:
    """Renders messages as transformers' apply_chat_template(tokenize=False) does with the tokenizer's template.

    tokenizer             whose template is used, and whose special tokens it sees
    messages              mappings with role and content, as OpenAI's clients keep them, or their JSON text; all their keys
                          reach the template
    tools, documents      lists of JSON values, or their JSON text
    enable_thinking       variable of the template; None leaves it out
    chat_template         Jinja text in place of the tokenizer's template
    chat_template_kwargs  further variables of the template
    """
    chat = _Chat(messages, tools, documents, add_generation_prompt, enable_thinking, chat_template,
                 chat_template_kwargs)
    text, n = c_void_p(), c_size_t()
    tokenizer._call("dlx_chat_render_json", chat.messages, len(chat.messages), byref(chat.options), byref(text), byref(n))
    return _native.take_bytes(text, n.value).decode("utf-8")


class Tokenizer:
    """A byte-level BPE tokenizer. Immutable; may be shared between threads. Open one with from_pte, from_folder or
    from_packed. Ids without a token decode to nothing."""

    __reduce_ex__ = only_here

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._constraints: "Dict[Tuple[str, str], Constraint]" = {}  # those that were made last

    @classmethod
    def from_folder(cls, folder: PathLike, chat_template: Optional[PathLike] = None) -> "Tokenizer":
        """From a checkpoint folder: tokenizer.json, or vocab.json and merges.txt. chat_template: "none", the name of one
        of the folder's templates, or a file with Jinja text, in place of the folder's default one."""
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"tokenizer folder not found: {os.fspath(folder)}")
        wanted = None if chat_template is None else _native.encode_path(chat_template)
        return cls._open("dlx_tokenizer_open_folder_with", _native.encode_path(folder), wanted)

    @classmethod
    def from_pte(cls, path: PathLike) -> "Tokenizer":
        """From a .pte; UnsupportedError when it carries none."""
        require_file(path)
        return cls._open("dlx_tokenizer_open_pte", _native.encode_path(path))

    @classmethod
    def from_pte_fd(cls, fd: _native.Descriptor) -> "Tokenizer":
        """From an open descriptor of a .pte, or an open file, which stays yours and is needed during the call only."""
        return cls._open("dlx_tokenizer_open_pte_fd", _native.descriptor(fd))

    @classmethod
    def from_pte_bytes(cls, data: Any) -> "Tokenizer":
        """From the bytes of a .pte, which are needed during the call only."""
        address, n = _native.address_of(data)
        return cls._open("dlx_tokenizer_open_pte_memory", address, n)

    @classmethod
    def from_packed(cls, data: bytes) -> "Tokenizer":
        """From the bytes of pack()."""
        return cls._open("dlx_tokenizer_open_packed", data, len(data))

    @classmethod
    def _open(cls, function: str, *arguments: Any) -> "Tokenizer":
        return cls(Handle("the tokenizer", lambda out: _native.call(function, out, *arguments),
                          _native.library().dlx_tokenizer_close, inherited=True))

    def _call(self, function: str, *arguments: Any) -> None:
        using(self._handle.use(), lambda pointer: _native.call(function, pointer, *arguments))

    def _ask(self, function: str, *arguments: Any) -> int:
        with self._handle.use() as pointer:
            return int(getattr(_native.library(), function)(pointer, *arguments))

    def pack(self) -> bytes:
        """The compact form that travels in a .pte."""
        data, n = c_void_p(), c_size_t()
        self._call("dlx_tokenizer_pack", byref(data), byref(n))
        return _native.take_bytes(data, n.value)

    def encode(self, text: Union[str, bytes], special: bool = False, around: bool = False) -> List[int]:
        """Token ids of a text. Added tokens that are not special ("<think>") become their ids; special ones and the
        mask only with special=True: text that a user typed never yields a control token. around=True puts the ids
        around it that the tokenizer puts around a prompt (none for the four families)."""
        encoded = _utf8(text)
        ids, n = POINTER(c_int32)(), c_size_t()
        self._call("dlx_tokenizer_encode", encoded, len(encoded), int(special) | int(around) << 1, byref(ids),
                   byref(n))
        return _native.take_ids(ids, n.value)

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """Text of token ids; bytes that are no UTF-8 become U+FFFD."""
        native_ids, count = _to_ids(ids)
        text, n = c_void_p(), c_size_t()
        self._call("dlx_tokenizer_decode", native_ids, count, skip_special, byref(text),
                     byref(n))
        return _native.take_bytes(text, n.value).decode("utf-8")

    def __repr__(self) -> str:
        return "<Tokenizer, closed>" if self._handle.closed else f"<Tokenizer of {len(self)} ids>"

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        """Largest id + 1."""
        return self._ask("dlx_tokenizer_size")

    def special_id(self, token: str) -> Optional[int]:
        """Id of the added token with exactly this text; None when there is none."""
        found = self._ask("dlx_tokenizer_special_id", _utf8(token))
        return found if found >= 0 else None

    @property
    def mask_id(self) -> Optional[int]:
        """The mask token's id as the tokenizer files tell it."""
        found = self._ask("dlx_tokenizer_mask_id")
        return found if found >= 0 else None

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer's files had a chat template: False for a base model."""
        return bool(self._ask("dlx_tokenizer_has_chat_template"))

    def apply_chat_template(self, messages: Union[str, Sequence[Message]], *, tools: Any = None, documents: Any = None,
                            add_generation_prompt: bool = True, enable_thinking: Optional[bool] = None,
                            chat_template: Optional[str] = None,
                            chat_template_kwargs: Optional[Mapping[str, Any]] = None) -> List[int]:
        """Messages to prompt ids. Only the template's own parts yield control tokens, never a message's text. See
        render_chat for the arguments; UnsupportedError when the files have no template."""
        chat = _Chat(messages, tools, documents, add_generation_prompt, enable_thinking, chat_template,
                     chat_template_kwargs)
        ids, n = POINTER(c_int32)(), c_size_t()
        self._call("dlx_chat_encode_json", chat.messages, len(chat.messages), byref(chat.options), byref(ids), byref(n))
        return _native.take_ids(ids, n.value)

    def stream(self, skip_special: bool = True) -> "TextStream":
        """Incremental decoding: push ids, take text that is complete."""
        return TextStream(self, skip_special)

    def close(self) -> None:
        """Frees the tokenizer, as soon as its streams are closed and nobody uses it. Closing twice is fine."""
        self._handle.retire()

    def __enter__(self) -> "Tokenizer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class TextStream:
    """Holds back bytes of unfinished characters; used by one thread at a time."""

    __reduce_ex__ = only_here

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        with tokenizer._handle.use() as pointer:
            self._handle = Handle("the text stream",
                                  lambda out: _native.call("dlx_text_stream_open", out, pointer, skip_special),
                                  _native.library().dlx_text_stream_close, tokenizer._handle, inherited=True)

    def _take(self, function: str, *arguments: Any) -> str:
        text, n = c_void_p(), c_size_t()
        with self._handle.use() as pointer, self._tokenizer._handle.use():
            _native.call(function, pointer, *arguments, byref(text), byref(n))
            return ctypes.string_at(text, n.value).decode("utf-8") if n.value else ""

    def push(self, ids: Sequence[int]) -> str:
        """Adds token ids; returns the text that is complete now."""
        native_ids, count = _to_ids(ids)
        return self._take("dlx_text_stream_push", native_ids, count)

    def flush(self) -> str:
        """The rest at the end of a text; unfinished characters become U+FFFD."""
        return self._take("dlx_text_stream_flush")

    def close(self) -> None:
        """Frees the stream. Closing twice is fine."""
        self._handle.retire()

    def __enter__(self) -> "TextStream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
