"""Files of prompts: one JSON object a line in, one a line out, in the same order, and on from where it stopped."""
import contextlib
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ._native import PathLike
from .batches import check_batch_size, complete_many
from .completion import stop_strings
from .decode import check_options
from .errors import DlxError
from .session import TEMPLATE_KEYWORDS

try:
    import fcntl
except ImportError:     # no Unix
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from .session import Model

__all__ = ["FileStatistics", "generate_file"]

_PROMPTS = ("prompt", "messages", "ids")


class FileStatistics(NamedTuple):
    """What generate_file did."""

    lines: int      # of the input that hold a prompt
    resumed: int    # of them were answered in the output already
    failed: int     # of those answered now have an "error" instead of a text


def _lines_of(source: PathLike) -> List[Tuple[int, str]]:
    """(number, text) of the lines that hold something."""
    with open(source, "rb") as file:
        content = file.read()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{os.fsdecode(source)} is text in UTF-16; UTF-8 is expected")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fsdecode(source)}, line {content.count(10, 0, error.start) + 1}, is no UTF-8: {error.reason}") from None
    return [(number, line) for number, line in enumerate(io.StringIO(text, newline=None), 1) if line.strip()]


def _prompt_of(line: str, number: int) -> Tuple[Dict[str, Any], Any]:
    """(the object, its prompt); ValueError names the line."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON: {error}") from None
    if isinstance(record, str):
        record = {"prompt": record}
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is no object, but {type(record).__name__}")
    names = [name for name in _PROMPTS if name in record]
    if len(names) != 1:
        raise ValueError(f"line {number} has {' and '.join(names) or 'none'} of the keys {', '.join(_PROMPTS)}; one is needed")
    return record, record[names[0]]


def _key(record: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """What an answer depends on: another prompt or other options have another one."""
    text = json.dumps([record, {k: v for k, v in sorted(options.items()) if v is not None}], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _answered(path: Path, file: Any, keys: List[str]) -> Tuple[int, int]:
    """(answers that the output has, bytes up to there). A last line that was cut short does not count, if it is the
    beginning of the answer that comes next."""
    done = size = 0

    def refuse(why: str) -> None:
        raise ValueError(f"{path}, line {done + 1}, {why}; give another output, or resume=False to replace it") from None
    for line in file:
        if not line.endswith(b"\n") and done < len(keys):
            begin = json.dumps({"key": keys[done]})[:-1].encode()
            if line[:len(begin)] == begin[:len(line)]:
                break
        try:
            key = json.loads(line)["key"]
        except (ValueError, KeyError, TypeError):
            refuse("was not written by generate_file")
        if done >= len(keys) or key != keys[done]:
            refuse("answers another prompt, or was made with other options")
        done += 1
        size += len(line)
    return done, size


def _open_output(path: Path) -> Any:
    """For reading and writing, made where it is missing. Whoever has it open keeps others from writing to it, until it is
    closed or the program ends; where the system or the file system has no locks, nobody does."""
    file = open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RuntimeError(f"{path} is being written by another generate_file; wait for its end, or give another "
                           "output") from None
    except OSError:
        pass
    return file


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of writing says to what."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def _bar(total: int, done: int, wanted: Optional[bool]) -> Iterator[Any]:
    """A function to call for each answer. tqdm's bar where it is installed, else a line; on terminals unless wanted."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda: None
        return
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        count = done

        def tell() -> None:
            nonlocal count
            count += 1
            print(f"\r{count} of {total} prompts", end="" if count < total else "\n", file=sys.stderr, flush=True)
        yield tell
        return
    with tqdm(total=total, initial=done, unit="prompt") as bar:
        yield bar.update


def generate_file(model: "Model", source: PathLike, target: PathLike, *, template: Mapping[str, Any],
                  decode: Mapping[str, Any], batch_size: int = 8, resume: bool = True, progress: Optional[bool] = None,
                  chat: Optional[bool] = None, stop: Any = None, keep_special: bool = False) -> FileStatistics:
    """See Model.generate_file. template, decode: its keywords for the chat template, and those of decoding"""
    check_batch_size(batch_size)
    check_options(decode, model._tokenizer_if(False))
    stop_strings(stop)
    settings = {**decode, **template, "chat": chat, "stop": stop, "keep_special": keep_special}
    lines = _lines_of(source)
    records = [_prompt_of(line, number) for number, line in lines]
    keys = [_key(record, settings) for record, _ in records]
    path = Path(target)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a folder, a device or a pipe; answers go to a file")
    if path.exists() and os.path.samefile(source, path):
        raise ValueError(f"{path} is the file that the prompts come from; give another output")
    failed = 0
    with _named(path), _open_output(path) as out:
        done, size = _answered(path, out, keys) if resume else (0, 0)
        out.seek(size)
        out.truncate(size)
        with _bar(len(records), done, progress) as tell:
            for begin in range(done, len(records), batch_size * 8):    # in pieces: few answers wait for an earlier one
                failed += _answer(model, records[begin:begin + batch_size * 8], keys[begin:], out, tell, batch_size,
                                  {"chat": chat, **template},
                                  {"stop": stop, "keep_special": keep_special, "options": decode})
    return FileStatistics(len(records), done, failed)


def _answer(model: "Model", records: List[Tuple[Dict[str, Any], Any]], keys: List[str], out: Any, tell: Any, batch_size: int,
            text: Mapping[str, Any], arguments: Dict[str, Any]) -> int:
    """Answers some prompts and writes them in order, each as soon as those before it are there; how many failed. text:
    keywords of prompt_ids"""
    ready: Dict[int, Any] = {}
    prompts, places = [], []
    for i, (record, prompt) in enumerate(records):
        try:
            own = {name: record[name] for name in TEMPLATE_KEYWORDS if name in record}
            prompts.append(model.prompt_ids(prompt, **{**text, **own}))
            places.append(i)
        except (DlxError, ValueError, TypeError) as error:
            ready[i] = error
    written = failed = 0

    def write() -> None:
        nonlocal written, failed
        while written in ready:
            result = ready.pop(written)
            line = {"key": keys[written]}
            if "id" in records[written][0]:
                line["id"] = records[written][0]["id"]
            if isinstance(result, BaseException):
                failed += 1
                line["error"] = str(result)
            else:
                line.update(text=result.text, ids=result.ids, finish_reason=result.finish_reason,
                            statistics=result.statistics._asdict())
            out.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            out.flush()
            written += 1
            tell()

    def on_done(i: int, result: Any) -> None:
        ready[places[i]] = result
        write()

    try:
        tokenizer = model.tokenizer()
    except DlxError:
        tokenizer = None
    write()
    complete_many(model, prompts, tokenizer, batch_size, arguments, on_done)
    return failed
