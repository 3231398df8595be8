"""python -m diffulex_edge: chats with a .pte, by running the C program `diffulex-edge chat`.

    python -m diffulex_edge --pte-path model.pte [--max-tokens 100] [--temperature 0.8] [--top-k 50] [--top-p 0.9]

The flags of the original's chat are mapped to the program's; further ones are passed on as they are.
"""
import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

__all__ = ["arguments_for_chat", "find_program", "main"]

# The original's flags, and what they are called here. None: takes a value that has no effect on a .pte.
_FLAGS = {"--pte-path": "--pte-path", "--max-tokens": "--max-new-tokens", "--temperature": "--temperature",
          "--top-k": "--top-k", "--top-p": "--top-p", "--model-type": None, "--device": None, "--tokenizer": None,
          "--max-seq-len": None}


def _candidates() -> Iterator[Path]:
    name = "diffulex-edge.exe" if sys.platform == "win32" else "diffulex-edge"
    package = Path(__file__).resolve().parent
    yield package / "bin" / name
    from importlib import metadata
    try:  # an editable install keeps built files apart from the sources
        for file in metadata.files("diffulex-edge") or []:
            if file.name == name and file.parent.name == "bin":
                yield Path(str(file.locate()))
    except metadata.PackageNotFoundError:
        pass
    from . import _native
    from .errors import DlxError
    try:
        library = Path(_native.library().path)
    except DlxError:
        return
    yield from (library.parent / name, library.parent.parent / "cli" / name, library.parent.parent / "bin" / name)


def find_program() -> Optional[Path]:
    """The C program: DLX_CLI, in the installed package, beside the library, or in its build tree; None when it is
    nowhere."""
    named = os.environ.get("DLX_CLI")
    if named:
        return Path(named) if Path(named).is_file() else None
    return next((path for path in _candidates() if path.is_file()), None)


def arguments_for_chat(arguments: List[str]) -> List[str]:
    """The original's arguments as the program takes them. ValueError for one that cannot be served."""
    out: List[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag == "--model-path":
            raise ValueError("--model-path: a checkpoint has to be exported first: python -m "
                             "diffulex_edge.scripts.export_model DIR -o model.pte; then --pte-path model.pte")
        if flag == "--no-chat-template":
            out.append("--no-template")
        elif flag in _FLAGS:
            if not equals:
                found = next(rest, None)
                if found is None:
                    raise ValueError(f"{flag} needs a value")
                value = found
            name = _FLAGS[flag]
            if name is None:
                print(f"note: {flag} means nothing for a .pte and is left out", file=sys.stderr)
            else:
                out += [name, value]
        else:
            out.append(argument)
    return out


def main(arguments: Optional[List[str]] = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if arguments else 2
    program = find_program()
    if program is None:
        print("error: the program diffulex-edge was not found in this package or beside libdiffulex_edge; build it "
              "(cmake --build --preset release) or set DLX_CLI to it. From Python, "
              "diffulex_edge.Model(path).generate(text) needs no program", file=sys.stderr)
        return 1
    try:
        command = [str(program), "chat", *arguments_for_chat(arguments)]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if hasattr(os, "execv") and sys.platform != "win32":
        sys.stdout.flush()
        os.execv(command[0], command)
    status = subprocess.run(command, check=False).returncode
    return 128 - status if status < 0 else status   # ended by a signal: as shells say it


if __name__ == "__main__":
    sys.exit(main())
