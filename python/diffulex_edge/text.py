"""Text: tokenizers of the four families, incremental decoding, and chat templates."""
import ctypes
import json
import os
from ctypes import POINTER, byref, c_int32, c_size_t, c_void_p
from typing import Any, List, Mapping, Optional, Sequence, Union

from . import _native
from .decode import _to_ids
from .handles import Handle
from .session import PathLike, require_file

__all__ = ["CHAT_TEMPLATES", "TextStream", "Tokenizer", "render_chat"]

# Names of the chat templates; their numbers in the library are their places in this list. "none": a base model;
# "other": the files name a template that the library does not render.
CHAT_TEMPLATES = ("none", "llada", "dream", "qwen", "sdar", "other")

Message = Mapping[str, Any]


def _utf8(text: Union[str, bytes]) -> bytes:
    """UTF-8 of a text; lone surrogates become U+FFFD."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")


def _json_text(value: Any) -> Optional[bytes]:
    """JSON of a value, in the form that Hugging Face's templates print; text is taken as JSON already."""
    if value is None:
        return None
    return _utf8(value if isinstance(value, (str, bytes)) else json.dumps(value, ensure_ascii=False))


class _Chat:
    """Messages and options as the library takes them; keeps the bytes alive."""

    def __init__(self, messages: Sequence[Message], tools: Any, add_generation_prompt: bool,
                 enable_thinking: Optional[bool]) -> None:
        self.messages = (_native.ChatMessage * max(1, len(messages)))()
        self.n = len(messages)
        for native, message in zip(self.messages, messages):
            unknown = set(message) - {"role", "content", "tool_calls", "reasoning_content"}
            if unknown or "role" not in message:
                raise ValueError("a message has the keys role, content, tool_calls and reasoning_content; "
                                 f"this one has {sorted(message)}")
            native.struct_size = ctypes.sizeof(native)
            native.role = self._text(message["role"], "role")
            native.content = self._text(message.get("content"), "content")
            native.tool_calls = _json_text(message.get("tool_calls") or None)
            native.reasoning_content = self._text(message.get("reasoning_content"), "reasoning_content")
        thinking = 0 if enable_thinking is None else 1 if enable_thinking else -1
        self.options = _native.ChatOptions(
            add_generation_prompt=add_generation_prompt, enable_thinking=thinking, tools=_json_text(tools or None))

    @staticmethod
    def _text(value: Any, key: str) -> Optional[bytes]:
        if value is None:
            return None
        if not isinstance(value, (str, bytes)):
            raise ValueError(f"message {key} is a {type(value).__name__}; only text is supported")
        encoded = _utf8(value)
        if b"\0" in encoded:
            raise ValueError(f"message {key} holds a NUL character")
        return encoded


def render_chat(template: str, messages: Sequence[Message], *, tools: Any = None, add_generation_prompt: bool = True,
                enable_thinking: Optional[bool] = None) -> str:
    """Renders messages as a published chat template does.

    template         one of CHAT_TEMPLATES
    messages         mappings with role and content, and optionally tool_calls, reasoning_content
    tools            list of tool schemas, or their JSON text
    enable_thinking  SDAR: None leaves it out, False adds an empty thought
    """
    if template not in CHAT_TEMPLATES:
        raise ValueError(f"there is no chat template {template!r}; expected one of {', '.join(CHAT_TEMPLATES)}")
    chat = _Chat(messages, tools, add_generation_prompt, enable_thinking)
    text, n = c_void_p(), c_size_t()
    _native.call("dlx_chat_render", CHAT_TEMPLATES.index(template), chat.messages, chat.n, byref(chat.options),
                 byref(text), byref(n))
    return _native.take_bytes(text, n.value).decode("utf-8")


class Tokenizer:
    """A byte-level BPE tokenizer. Immutable; may be shared between threads. Open one with from_pte, from_folder or
    from_packed. Ids without a token decode to nothing."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @classmethod
    def from_folder(cls, folder: PathLike) -> "Tokenizer":
        """From a checkpoint folder: tokenizer.json, or vocab.json and merges.txt."""
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"tokenizer folder not found: {os.fspath(folder)}")
        return cls._open("dlx_tokenizer_open_folder", _native.encode_path(folder))

    @classmethod
    def from_pte(cls, path: PathLike) -> "Tokenizer":
        """From a .pte; UnsupportedError when it carries none."""
        require_file(path)
        return cls._open("dlx_tokenizer_open_pte", _native.encode_path(path))

    @classmethod
    def from_pte_fd(cls, fd: int) -> "Tokenizer":
        """From an open descriptor of a .pte, which stays yours and is needed during the call only."""
        return cls._open("dlx_tokenizer_open_pte_fd", fd)

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
                          _native.library().dlx_tokenizer_close))

    def _call(self, function: str, *arguments: Any) -> None:
        with self._handle.use() as pointer:
            _native.call(function, pointer, *arguments)

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
    def chat_template(self) -> str:
        """Which template the tokenizer's files name: one of CHAT_TEMPLATES."""
        number = self._ask("dlx_tokenizer_chat_template")
        return CHAT_TEMPLATES[number] if 0 <= number < len(CHAT_TEMPLATES) else "other"

    def apply_chat_template(self, messages: Sequence[Message], *, tools: Any = None, add_generation_prompt: bool = True,
                            enable_thinking: Optional[bool] = None) -> List[int]:
        """Messages to prompt ids. Only the template's own parts yield control tokens, never a message's text. See
        render_chat for the arguments; UnsupportedError when the files name no template the library renders."""
        chat = _Chat(messages, tools, add_generation_prompt, enable_thinking)
        ids, n = POINTER(c_int32)(), c_size_t()
        self._call("dlx_chat_encode", chat.messages, chat.n, byref(chat.options), byref(ids),
                     byref(n))
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

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        with tokenizer._handle.use() as pointer:
            self._handle = Handle("the text stream",
                                  lambda out: _native.call("dlx_text_stream_open", out, pointer, skip_special),
                                  _native.library().dlx_text_stream_close, tokenizer._handle)

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
