#!/usr/bin/env python3
"""Records what Jinja2 makes of templates, conversations and small programs in tests/data/jinja/recorded.json, so that
tests run without Python packages. The cases are those of tests/py/jinja_cases.py.

    build/venv/bin/python tools/record_jinja.py
"""
import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))
import jinja_cases  # noqa: E402

CONVERSATIONS, PROGRAMS = 14, 500


def usable(source, text):
    """Programs whose text shows Python's own names of objects, or that this library leaves out, are not recorded."""
    return text is None or not jinja_cases.prints_addresses(text)


def record_programs():
    programs, number = [], 0
    while len(programs) < PROGRAMS:
        source, variables = jinja_cases.program(random.Random(f"recorded {number}"))
        text = jinja_cases.expected_of_program(source, variables)
        number += 1
        # Failures say little: a third of them is enough. Short programs are easier to read when they fail.
        if len(source) < 400 and usable(source, text) and (text is not None or number % 3 == 0):
            programs.append([source, variables, text])
    return programs


def main():
    requests = [jinja_cases.conversation(random.Random(f"recorded {i}")) for i in range(CONVERSATIONS)]
    rendered = {name: [jinja_cases.expected(source, request) for request in requests]
                for name, source in jinja_cases.templates().items() if "strftime_now" not in source}
    recorded = {"special": jinja_cases.SPECIAL, "requests": requests, "rendered": rendered,
                "programs": record_programs()}
    path = ROOT / "tests" / "data" / "jinja" / "recorded.json"
    path.write_text(json.dumps(recorded, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    texts = [text for list_ in rendered.values() for text in list_]
    print(f"{path}: {len(rendered)} templates, {sum(t is not None for t in texts)} of {len(texts)} texts, "
          f"{sum(p[2] is not None for p in recorded['programs'])} of {PROGRAMS} programs print")


if __name__ == "__main__":
    main()
