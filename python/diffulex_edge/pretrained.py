"""Checkpoints as models: exported once into a cache folder, then opened.

The cache is DIFFULEX_EDGE_CACHE, or diffulex-edge below XDG_CACHE_HOME or ~/.cache. A file there is named by what it was made
of: the checkpoint's files with their sizes and times, the settings of the export, and the version of the library. A
checkpoint that changes is exported again, and what it was before is removed.
"""
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

from ._native import PathLike

__all__ = ["cache_folder", "cached_export"]


def cache_folder() -> Path:
    """Where exports are kept."""
    named = os.environ.get("DIFFULEX_EDGE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "diffulex-edge"


def _hubs() -> Iterator[Path]:
    """Folders of the Hugging Face cache, the one that counts first."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    if os.environ.get("HF_HOME"):
        yield Path(os.environ["HF_HOME"]) / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    yield Path(base) / "huggingface" / "hub"


def _folder_of(name: str) -> Path:
    """The checkpoint folder that a name means. One that is nowhere stays what it is: the export says what to do."""
    if os.path.isdir(name) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return Path(name)
    for hub in _hubs():
        repository = hub / f"models--{name.replace('/', '--')}"
        try:
            revision = (repository / "refs" / "main").read_text().strip()
        except OSError:
            continue
        if (repository / "snapshots" / revision).is_dir():
            return repository / "snapshots" / revision
    return Path(name)


def _stamp(folder: Path) -> str:
    """Of all its files: names, sizes and times."""
    rows = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model"):
            try:
                state = path.stat()
            except OSError:     # a link to nowhere: the export says so
                continue
            rows.append((path.name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def cached_export(name: PathLike, cache: Optional[PathLike], settings: Tuple[Tuple[str, Any], ...],
                  progress: Optional[Callable[[int, int], Optional[bool]]]) -> Path:
    """The .pte of a checkpoint, made now or before."""
    import diffulex_edge
    folder = _folder_of(os.fspath(name))
    made_of = (os.path.abspath(folder), settings, diffulex_edge.library_version())
    what = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
    title = re.sub(r"[^\w.-]", "_", Path(os.fspath(name)).name or "model")[:80]
    target = Path(cache) if cache is not None else cache_folder()
    path = target / f"{title}-{what}-{_stamp(folder)}.pte"
    if path.exists():
        return path
    target.mkdir(parents=True, exist_ok=True)
    diffulex_edge.export_checkpoint(folder if folder.is_dir() else os.fspath(name), path, progress=progress, **dict(settings))
    for older in target.glob(f"{title}-{what}-*.pte"):
        if older != path:
            older.unlink()      # whoever has it open keeps it
    return path
