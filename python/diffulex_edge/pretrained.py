"""Checkpoints as models: exported once into a cache folder, then opened.

The cache is DIFFULEX_EDGE_CACHE, or diffulex-edge below XDG_CACHE_HOME or ~/.cache. A file there is named by what it was made
of: the checkpoint's files with their sizes and times (of the contents, and of the last change of any kind), the settings of the export, and the version of the library. A
checkpoint that changes is exported again, and what it was before is removed.
"""
import hashlib
import os
import re
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from . import _native
from ._native import PathLike
from .errors import IoError

__all__ = ["cache_folder", "cached_export", "folder_of"]


def cache_folder() -> Path:
    """Where exports are kept."""
    named = os.environ.get("DIFFULEX_EDGE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "diffulex-edge"
    except RuntimeError:
        raise IoError("there is no home folder to keep a cache in; name a folder as cache_dir, or in "
                      "DIFFULEX_EDGE_CACHE") from None


def folder_of(name: PathLike) -> Path:
    """The checkpoint folder that a name means, to the library's own rules. FileNotFoundError says how to fetch it."""
    folder = c_void_p()
    _native.call("dlx_export_find_checkpoint", byref(folder), _native.encode_path(name))
    return Path(os.fsdecode(_native.take_bytes(folder)))


def _stamp(folder: Path, template: Optional[PathLike]) -> str:
    """Of all files that an export reads: names, sizes and times."""
    rows = []
    paths = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model")]
    for path in sorted(paths) + ([] if template is None else [Path(template)]):
        try:
            state = path.stat()
        except OSError:     # a link to nowhere: the export says so; a template may be a name
            continue
        rows.append((path.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def cached_export(name: PathLike, cache: Optional[PathLike], settings: Dict[str, Any],
                  progress: Optional[Callable[[int, int], Optional[bool]]], again: bool = False) -> Tuple[Path, bool]:
    """(the .pte of a checkpoint, whether it was made now). settings: keywords of export_checkpoint. again: it is made
    whether it is there or not"""
    import diffulex_edge
    folder = folder_of(name)
    made_of = (os.path.abspath(folder), sorted(settings.items()), diffulex_edge.library_version())
    what = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
    title = re.sub(r"[^\w.-]", "_", Path(os.fspath(name)).name or "model")[:80]
    target = Path(cache) if cache is not None else cache_folder()
    path = target / f"{title}-{what}-{_stamp(folder, settings.get('chat_template'))}.pte"
    try:
        if path.exists() and not again:
            return path, False
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IoError(f"the cache folder {target} cannot be used: {error.strerror or error}; give another as cache_dir, or "
                      "in DIFFULEX_EDGE_CACHE") from error
    diffulex_edge.export_checkpoint(folder, path, progress=progress, **settings)
    for older in target.glob(f"{title}-{what}-*.pte"):
        if older != path:
            older.unlink()      # whoever has it open keeps it
    return path, True
