#!/usr/bin/env python3
"""run.py MODULE [ARGUMENTS]: runs a WebAssembly program under wasmtime (package `wasmtime`) as if it were one of this machine:
same arguments, standard files and environment, this machine's folders to read, and its exit status. What the engine compiles is
kept beside the module, for the next run.
"""
import os
import sys
from pathlib import Path

import wasmtime


def compiled(engine, path):
    """The module, compiled before or now."""
    stamp = path.stat()
    kept = path.with_name(f"{path.name}.{stamp.st_size}-{stamp.st_mtime_ns}.compiled")
    if kept.exists():
        try:
            return wasmtime.Module.deserialize_file(engine, str(kept))
        except wasmtime.WasmtimeError:  # of another version of the engine
            pass
    module = wasmtime.Module.from_file(engine, str(path))
    for old in path.parent.glob(f"{path.name}.*.compiled"):
        old.unlink(missing_ok=True)
    part = kept.with_name(f"{kept.name}.{os.getpid()}")
    part.write_bytes(module.serialize())
    part.rename(kept)
    return module


def main():
    engine = wasmtime.Engine()
    module = compiled(engine, Path(sys.argv[1]))
    wasi = wasmtime.WasiConfig()
    wasi.argv = sys.argv[1:]
    wasi.env = list(os.environ.items())
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    # wasi-libc takes the folder whose name a path begins with; "/" and "." are the same to it.
    wasi.preopen_dir(".", ".", fs_mutable=False)
    for folder in sorted(Path("/").iterdir()):
        if folder.is_dir() and folder.name not in ("dev", "proc", "sys"):
            wasi.preopen_dir(str(folder), str(folder), fs_mutable=False)
    store = wasmtime.Store(engine)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except wasmtime.ExitTrap as end:
        return end.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
