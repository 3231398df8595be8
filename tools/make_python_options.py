#!/usr/bin/env python3
"""Writes python/diffulex_edge/options.py from the table of decode options: run it after a change of that table, with a
build of the library in DLX_BUILD_DIR. `--check` only compares."""
import argparse
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "python" / "diffulex_edge" / "options.py"
TYPES = {"int": "int", "float": "float", "bool": "bool", "ids": "Union[Sequence[int], int, str]", "word": "str"}

HEAD = '''"""Decode options as typed keywords, so that type checkers and editors know them.

Written by tools/make_python_options.py from the library's table (src/diffusion/options.c); not to be edited. None leaves an
option unset. docs/DECODING.md explains each.
"""
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    from .constraint import Constraint, Schema
else:
    from typing import TypedDict

__all__ = ["DecodeOptions", "GenerateOptions"]


class DecodeOptions(TypedDict, total=False):
    """What generate(), complete() and stream() take by name, besides their own arguments."""
'''

CONSTRAINTS = """    # what the answer must be; one of the four [every algorithm]
    constraint: "Optional[Constraint]"
    # a regular expression that the answer matches as a whole
    regex: Optional[str]
    # a JSON schema that the answer is an instance of: a mapping, or its text
    json_schema: "Optional[Schema]"
    # a grammar in GBNF, whose rule "root" derives the answer
    grammar: Optional[str]"""

TAIL = '''

class GenerateOptions(DecodeOptions, total=False):
    """What Model's generate(), stream() and generate_file() take as well: for the chat template, see render_chat."""

    tools: Any
    documents: Any
    enable_thinking: Optional[bool]
    chat_template: Optional[str]
    chat_template_kwargs: Optional[Mapping[str, Any]]
'''


def text():
    sys.path.insert(0, str(ROOT / "python"))
    import diffulex_edge
    out = [HEAD]
    for option in diffulex_edge.decode_options():
        algorithms = "every algorithm" if option.algorithms == ("all",) else ", ".join(option.algorithms)
        words = re.sub(r"\s+", " ", f"{option.help} [{algorithms}]")
        out.append("\n".join(textwrap.wrap(words, 116, initial_indent="    # ", subsequent_indent="    # ")))
        out.append(f"    {option.name}: Optional[{TYPES[option.kind]}]")
    out.append(CONSTRAINTS)
    return "\n".join(out) + "\n" + TAIL


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit status 1 when the file is not what would be written")
    options = parser.parse_args()
    made = text()
    if options.check:
        if TARGET.read_text() != made:
            print(f"{TARGET.relative_to(ROOT)} is not what the table of decode options makes of it; run tools/make_python_options.py")
            return 1
        return 0
    TARGET.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
