"""tools/check_docs.py and tools/check_style.py find what they are there for."""
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """#!/bin/sh
case "$1" in
--help) echo "usage: diffulex-edge run|export [options]"; echo "  --version  prints the version";;
run) echo "  --prompt TEXT"; echo "  --gen-length N";;
export) echo "  --model PATH"; echo "  -o FILE";;
*) exit 2;;
esac
"""


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = load("check_docs")
style = load("check_style")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin" / "diffulex-edge"
    path.parent.mkdir()
    path.write_text(PROGRAM, encoding="utf-8")
    os.chmod(path, 0o755)
    return path


def run_docs(tmp_path, text, program=None):
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return docs.main(["--root", str(tmp_path)] + (["--cli", str(program)] if program else []))


def test_commands_that_the_program_knows_pass(tmp_path, program, capsys):
    text = ("# Hello there\n[self](README.md#hello-there) [web](https://example.org/x)\n```sh\n"
            "$ DLX=1 build/release/cli/diffulex-edge run --prompt 'a --b' \\\n    --gen-length=8 | tee out\n"
            "diffulex-edge export --model x -o y && diffulex-edge --version\n```\n`diffulex-edge run --help`\n")
    assert run_docs(tmp_path, text, program) == 0
    assert "4 command lines" in capsys.readouterr().out


@pytest.mark.parametrize("line, words", [
    ("diffulex-edge walk", "lists no subcommand walk"),
    ("diffulex-edge run --prompts x", "`diffulex-edge run --help` lists no --prompts"),
    ("x | ./diffulex-edge run \\\n   --gen 3", "lists no --gen"),
    ("diffulex-edge --verzion", "`diffulex-edge --help` lists no --verzion"),
])
def test_an_unknown_command_is_named(tmp_path, program, capsys, line, words):
    assert run_docs(tmp_path, f"# A\n```\n{line}\n```\n", program) == 1
    output = capsys.readouterr().out
    assert words in output
    assert output.startswith("README.md:3:")


def test_broken_links_are_named(tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "A.md").write_text("[up](../README.md) [gone](B.md)\n", encoding="utf-8")
    assert run_docs(tmp_path, "# Top\n[a](docs/A.md#nothing) <img src=\"no.png\"> `[not](a-link)`\n") == 1
    output = capsys.readouterr().out
    assert "docs/A.md:1: link to B.md, which does not exist" in output
    assert "README.md:2: docs/A.md#nothing: no such heading" in output
    assert "link to no.png" in output
    assert "a-link" not in output
    assert "command lines were not checked" in output


def test_messages_that_nobody_says_are_named(tmp_path, capsys):
    (tmp_path / "src").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "src" / "a.c").write_text('dlx_fail(err, "cannot open \'%s\' for the "\n   "reason that %d files are open");\n'
                                          'f("a.pte: %s", x); g("short %d");\n', encoding="utf-8")
    page = tmp_path / "docs" / "TROUBLESHOOTING.md"
    page.write_text("> `cannot open 'x' for the reason that 7 files are open`\n"
                    "> `a.pte: cannot open 'x' for the reason that 7 files are open`\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 0
    assert "2 quotations" in capsys.readouterr().out
    page.write_text("\n> `cannot open 'x' for the reasons that 7 files are open`\n> `short 7`\n"
                    "> `a.pte: cannot read it`\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 1
    output = capsys.readouterr().out
    assert "docs/TROUBLESHOOTING.md:2: no source says: cannot open 'x' for the reasons" in output
    assert "TROUBLESHOOTING.md:3" in output and "TROUBLESHOOTING.md:4" in output


def test_changes_of_another_version_are_named(tmp_path, capsys):
    (tmp_path / "CMakeLists.txt").write_text("project(x VERSION 1.2.3 LANGUAGES C)\n", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3 (not released)\n\n## 1.2.2\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 0
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.2\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 1
    assert "CHANGELOG.md begins with 1.2.2, CMakeLists.txt builds 1.2.3" in capsys.readouterr().out


def test_code_that_no_example_has_is_named(tmp_path, capsys):
    (tmp_path / "examples").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples" / "a.c").write_text("int main(void)\n{\n    return call(1,\n                2);\n}\n", encoding="utf-8")
    page = tmp_path / "docs" / "C.md"
    page.write_text("```c\nreturn call(1, 2);\n```\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 0
    page.write_text("```c\nreturn call(2, 1);\n```\n", encoding="utf-8")
    assert run_docs(tmp_path, "# A\n") == 1
    assert "docs/C.md: no example has: return call(2, 1);" in capsys.readouterr().out


@pytest.mark.parametrize("name, text, words", [
    ("src/a.c", "int\tx;\n", "tab"),
    ("src/a.c", "int x; \n", "white space at the end"),
    ("src/a.c", "int x;\r\n", "carriage return"),
    ("src/a.c", "int x;", "no newline at the end"),
    ("src/a.c", "/* " + "x" * 120 + " */\n", "at most 120"),
    ("src/a.c", "int x;\n" * 801, "801 lines"),
    ("src/a.c", "int f(void)\n{\n" + "    f();\n" * 81 + "}\n", "function of 81 lines"),
    ("src/a.c", "int f(void)\n{\n    printf(\"x\");\n}\n", "calls printf()"),
    ("src/a.c", "int f(void)\n{\n    abort();\n}\n", "calls abort()"),
    ("notes.md", "later: TO" + "DO\n", "unfinished"),
])
def test_style_violations_are_named(tmp_path, capsys, name, text, words):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert style.main(["--root", str(tmp_path)]) == 1
    assert words in capsys.readouterr().out


def test_clean_text_passes(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.c").write_text(
        "/* printf(\"no call\") */\nint f(int n)\n{\n    return snprintf(0, 0, \"exit(%d)\", n);\n}\n", encoding="utf-8")
    (tmp_path / "tests" / "data").mkdir(parents=True)
    (tmp_path / "tests" / "data" / "vocab.txt").write_bytes(b"a\tb \r\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert style.main(["--root", str(tmp_path)]) == 0
