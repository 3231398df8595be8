"""Datasets over many machines, with Ray Data: a copy of the model for each actor, batches of rows to each copy.

    import ray
    from diffulex_edge.ray import generate_dataset

    prompts = ray.data.read_json("prompts.jsonl")       # rows with "prompt", "messages" or "ids"
    answers = generate_dataset(prompts, "model.pte", concurrency=4, threads=8, gen_length=128)
    answers.write_json("answers")

generate_dataset needs the package ray[data] on the machine that calls it, and this package on all. Nothing else of this
package needs Ray. docs/SCALING.md says when it is of use.
"""
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Union

from ._native import PathLike
from .batches import check_batch_size, complete_many
from .completion import stop_strings
from .decode import check_options
from .errors import DlxError
from .session import Model, split_keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import GenerateOptions

__all__ = ["Generate", "generate_dataset"]

_COLUMNS = ("prompt", "messages", "ids")
_SEED_BITS = 52


def _plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text of whatever a batch holds. A column of messages has every key that some message
    has: those that are None are not this one's."""
    if hasattr(value, "tolist"):    # of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def local_file(path: PathLike) -> str:
    """A file that can be opened here. What a URL names is copied once for each machine and version of it, into a folder of
    the user's below the temporary one."""
    text = os.fspath(path)
    if "://" not in text:
        return text
    from pyarrow import fs  # type: ignore[import-not-found, import-untyped, unused-ignore]
    system, name = fs.FileSystem.from_uri(text)
    info = system.get_file_info(name)
    if not info.is_file:
        raise FileNotFoundError(f"{text} is no file")
    version = hashlib.sha256(json.dumps([text, info.size, info.mtime_ns]).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"diffulex-edge-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    target = folder / f"{version}-{Path(name).name}"
    if target.exists() and target.stat().st_size == info.size:
        return str(target)
    # Copies on the same machine may come at the same time: each makes a file, and whichever is last stays.
    handle, part = tempfile.mkstemp(dir=folder, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as out, system.open_input_stream(name) as source:
            while piece := source.read(1 << 22):
                out.write(piece)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise
    return str(target)


class Generate:
    """What an actor does: opens a model once, and completes the rows of each batch. A callable class for
    Dataset.map_batches, with batches of numpy or pyarrow:

        dataset.map_batches(Generate, fn_constructor_kwargs={"model": "model.pte", "gen_length": 64},
                            compute=ray.data.ActorPoolStrategy(size=4), batch_size=64)

    The arguments are those of generate_dataset.
    """

    def __init__(self, model: PathLike, *, column: Optional[str] = None, key: Optional[str] = None, threads: int = 1,
                 cpu: Optional[str] = None, pack_cache: Optional[PathLike] = None, parallel: int = 8, prefix: str = "",
                 chat: Optional[bool] = None, stop: Union[str, Sequence[str], None] = None, keep_special: bool = False,
                 options: Optional[Mapping[str, Any]] = None, **keywords: "Unpack[GenerateOptions]") -> None:
        check_batch_size(parallel)
        stop_strings(stop)
        self._template, named = split_keywords(keywords)
        decode = {**(options or {}), **named}
        self._column, self._key, self._parallel, self._prefix, self._chat = column, key, parallel, prefix, chat
        self._model = Model(local_file(model), threads=threads, cpu=cpu, pack_cache=pack_cache)
        check_options(decode, self._model._tokenizer_if(False))
        self._seed = decode.pop("seed", 0)
        self._arguments = {"stop": stop, "keep_special": keep_special, "options": decode}

    def _column_of(self, names: Sequence[str]) -> str:
        found = [name for name in _COLUMNS if name in names] if self._column is None else [self._column]
        if len(found) != 1 or found[0] not in names:
            raise ValueError(f"the rows have the columns {', '.join(names)}; column= says which one holds the prompts "
                             f"(without it, one of {', '.join(_COLUMNS)})")
        return found[0]

    def _seed_of(self, prompt: Any, key: Any) -> int:
        """Of a row: the same in every batch that it comes in, and at every try."""
        text = json.dumps([self._seed, key, prompt], sort_keys=True, default=str)
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> (64 - _SEED_BITS)

    def _complete(self, prompts: List[Any], keys: List[Any]) -> List[Any]:
        """A completion or an exception for each."""
        results: List[Any] = [None] * len(prompts)
        ids, places, each = [], [], []
        for i, prompt in enumerate(prompts):
            try:
                ids.append(self._model.prompt_ids(prompt, chat=self._chat, **self._template))
                places.append(i)
                each.append({"seed": self._seed_of(prompt, keys[i])})
            except (DlxError, ValueError, TypeError) as error:
                results[i] = error
        done = complete_many(self._model, ids, self._model._tokenizer_if(False), self._parallel, self._arguments, each=each)
        for i, result in zip(places, done):
            results[i] = result
        return results

    def __call__(self, batch: Any) -> Any:
        table = hasattr(batch, "append_column")     # of pyarrow
        names = batch.column_names if table else list(batch)
        new = [self._prefix + name for name in ("answer", "finish_reason", "new_tokens", "error")]
        for name in new:
            if name in names:
                raise ValueError(f"the rows have a column '{name}' already; prefix= puts something in front of the new ones")
        column = self._column_of(names)
        if self._key is not None and self._key not in names:
            raise ValueError(f"the rows have no column '{self._key}'; key= names one that tells rows apart")

        def values(name: str) -> List[Any]:
            return [_plain(value) for value in (batch.column(name).to_pylist() if table else batch[name])]
        prompts = values(column)
        results = self._complete(prompts, values(self._key) if self._key is not None else [None] * len(prompts))
        failed = [isinstance(result, BaseException) for result in results]
        columns: Dict[str, List[Any]] = dict(zip(new, (
            [None if bad else result.text for result, bad in zip(results, failed)],
            [None if bad else result.finish_reason for result, bad in zip(results, failed)],
            [0 if bad else len(result.ids) for result, bad in zip(results, failed)],
            [str(result) if bad else None for result, bad in zip(results, failed)])))
        if not table:
            return {**batch, **columns}
        import pyarrow as pa  # type: ignore[import-not-found, import-untyped, unused-ignore]
        for name in new:
            batch = batch.append_column(name, pa.array(columns[name], pa.int64() if name == new[2] else pa.string()))
        return batch


def generate_dataset(dataset: Any, model: PathLike, *, column: Optional[str] = None, key: Optional[str] = None,
                     concurrency: int = 1, threads: int = 1, batch_size: int = 64, parallel: int = 8, max_retries: int = 3,
                     prefix: str = "", cpu: Optional[str] = None, pack_cache: Optional[PathLike] = None,
                     chat: Optional[bool] = None, stop: Union[str, Sequence[str], None] = None, keep_special: bool = False,
                     options: Optional[Mapping[str, Any]] = None, remote: Optional[Mapping[str, Any]] = None,
                     **keywords: "Unpack[GenerateOptions]") -> Any:
    """The dataset with an answer to each row's prompt: new columns answer, finish_reason, new_tokens and error (which is
    None where there is an answer). Like all of Ray Data it is worked out when somebody reads it.

    dataset      a ray.data.Dataset
    model        a .pte: a path that every machine has, or a URL that pyarrow reads (s3://, gs://, hdfs://, file://), which
                 each machine copies once
    column       where the prompts are: text, messages or token ids. None: in prompt, messages or ids, whichever there is
    key          a column that tells rows apart, for those with the same prompt. With a temperature each
                 row draws by a seed of its own, made of the option seed, its prompt and its key: a batch that is done
                 again, on another machine, in other company, has the same answers
    concurrency  copies of the model, each an actor
    threads      of each copy; as many CPUs of the cluster it takes
    batch_size   rows that a copy takes at a time, and does again when it is lost; `parallel` of them decode at one time
    max_retries  how often a copy that was lost is made anew, somewhere where its threads have CPUs; the batch that it had
                 is done again
    prefix       of the new columns' names
    cpu          the kernel set of all copies, where machines differ and answers must not; see Model
    pack_cache   a folder on each machine for packed weights, which its copies share; see Model
    remote       more arguments for Dataset.map_batches: memory, resources, runtime_env ...
    chat to keywords   as those of Model.generate

    A prompt that cannot be answered is a row with an error. A model that cannot be opened, and wrong options, end the
    whole. ValueError here for arguments that are wrong wherever they are used.
    """
    check_batch_size(batch_size)
    check_batch_size(parallel)
    stop_strings(stop)
    if min(concurrency, threads) < 1 or max_retries < 0:
        raise ValueError(f"concurrency is {concurrency}, threads are {threads} and max_retries {max_retries}; at least 1, 1 "
                         "and 0 are needed")
    import ray.data  # type: ignore[import-not-found, import-untyped, unused-ignore]
    arguments = {"model": os.fspath(model), "column": column, "key": key, "threads": threads, "cpu": cpu,
                 "pack_cache": None if pack_cache is None else os.fspath(pack_cache), "parallel": parallel, "prefix": prefix,
                 "chat": chat, "stop": stop, "keep_special": keep_special, "options": dict(options or {}), **keywords}
    # What a lost copy was doing is tried until it has a new one: while a machine's end is not known yet, tries fail at once,
    # and a few of them are used up before it is. How often there is a new one is what is bounded.
    placed = {"num_cpus": threads, "max_restarts": max_retries, "max_task_retries": -1,
              "compute": ray.data.ActorPoolStrategy(size=concurrency), **(remote or {})}
    return dataset.map_batches(Generate, fn_constructor_kwargs=arguments, batch_size=batch_size, batch_format="pyarrow",
                               **placed)
