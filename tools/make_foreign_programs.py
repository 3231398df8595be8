"""Exports the programs of tests/data/foreign with ExecuTorch's own exporter (executorch 1.4.1, torch 2.13, torchao).

usage: python tools/make_foreign_programs.py FOLDER [NAME ...]

Each NAME.pte is a small network as a PyTorch user writes it; NAME.io holds the inputs of one or more calls and what the
network answers in PyTorch. A program with state is called several times; state begins as the file says.

NAME.io: "DLXIO1\\0\\0", number of calls; a call is its number of inputs and of outputs and then those tensors; a tensor is
its ScalarType, rank, sizes (all of these are little-endian int64) and its elements, padded to eight bytes.
"""
import logging
import pathlib
import sys
import warnings

from foreign import networks, operators, attention, decoders, states, others  # noqa: F401 - they register their programs
from foreign.exporting import export_llama, lower, lower_methods, write_io
from foreign.registry import PROGRAMS

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or PROGRAMS:
        spec = PROGRAMS[name]
        path = folder / spec.get("folder", "") / f"{name}.pte"
        path.parent.mkdir(exist_ok=True)
        calls = answers = ()
        if "official" in spec:
            calls, answers = export_llama(spec, path)
        else:
            finished, calls, answers = (lower_methods(spec), (), ()) if "methods" in spec else lower(name, spec)
            with open(path, "wb") as file:
                finished.write_to_file(file)
        if "folder" not in spec:
            write_io(path.with_suffix(".io"), calls, answers)
        print(f"{name}: {path.stat().st_size} bytes, {len(calls)} calls")


if __name__ == "__main__":
    main()
