"""Public names: each says what it is, options are typed as the library has them, and type checkers see mistakes."""
import dataclasses
import enum
import importlib
import importlib.util
import inspect
import pkgutil
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import diffulex_edge

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(diffulex_edge.__file__).resolve().parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "diffulex_edge."))


def public_members(kind):
    for name, member in vars(kind).items():
        if name.startswith("_") or isinstance(kind, type) and issubclass(kind, enum.Enum):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        if inspect.isfunction(member) or isinstance(member, property):
            # What a parent says of a method holds for the child's.
            yield name, member, next((vars(base)[name].__doc__ for base in kind.__mro__[1:]
                                      if name in vars(base) and getattr(vars(base)[name], "__doc__", None)), None)


def test_every_public_name_says_what_it_is():
    silent = []
    for module in MODULES + ["diffulex_edge"]:
        if module.endswith("__main__") or module.rpartition(".")[2].startswith("_"):
            continue
        loaded = importlib.import_module(module)
        if not loaded.__doc__:
            silent.append(module)
        for name in getattr(loaded, "__all__", ()):
            thing = getattr(loaded, name)
            if getattr(thing, "__module__", module) != module:
                continue
            if inspect.isfunction(thing) and not thing.__doc__:
                silent.append(f"{module}.{name}")
            if inspect.isclass(thing):
                own = thing.__dict__.get("__doc__")
                if not own or dataclasses.is_dataclass(thing) and own.startswith(f"{name}("):
                    silent.append(f"{module}.{name}")
                silent += [f"{module}.{name}.{method}" for method, member, inherited in public_members(thing)
                           if not member.__doc__ and not inherited]
    assert not silent, "\n".join(silent)


def test_names_are_there_and_lists_are_complete():
    assert sorted(diffulex_edge.__all__) == list(dict.fromkeys(sorted(diffulex_edge.__all__)))
    missing = [name for name in diffulex_edge.__all__ if not hasattr(diffulex_edge, name)]
    assert not missing
    assert set(diffulex_edge._EXPORTS) <= set(diffulex_edge.__all__)
    text = (PACKAGE / "__init__.py").read_text()
    for name, module in diffulex_edge._EXPORTS.items():     # type checkers read the imports below TYPE_CHECKING
        assert f"    from .{module} import" in text, (name, module)


def test_options_are_those_of_the_library():
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_python_options.py", "--check"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {o.name for o in diffulex_edge.decode_options()} | {"constraint", "regex", "json_schema", "grammar"}
    assert set(diffulex_edge.DecodeOptions.__annotations__) == names
    for call in (diffulex_edge.generate, diffulex_edge.complete, diffulex_edge.stream, diffulex_edge.Model.generate,
                 diffulex_edge.Model.stream, diffulex_edge.Model.generate_file, diffulex_edge.Session.generate,
                 diffulex_edge.Session.complete, diffulex_edge.Session.stream):
        own = set(inspect.signature(call).parameters)
        assert not own & set(diffulex_edge.DecodeOptions.__annotations__), call
        kind = "GenerateOptions" if call.__qualname__.startswith("Model.") else "DecodeOptions"
        assert inspect.signature(call).parameters["keywords"].annotation == f"Unpack[{kind}]"


PROGRAM = """
import diffulex_edge
from diffulex_edge import Completion, Model
model = Model("a.pte")
one: Completion = model.generate("a", temperature=0.5, stop_ids=[1, 2], block_length=None)
many: "list[Completion]" = model.generate(["a", "b"], batch_size=2, threshold=0.9, enable_thinking=False)
model.generate("a", tools=[], documents=[], chat_template="a", chat_template_kwargs={{"a": 1}}, temperature=0.5)
model.generate_file("a", "b", enable_thinking=True, max_new_tokens=4)
model.stream("a", enable_thinking=None, tools="[]")
model.generate("a", regex="[0-9]+")
model.generate("a", json_schema={{"type": "integer"}}, constraint=None)
for piece in model.stream("a", gen_length=4):
    piece.upper()
{line}
"""
MISTAKES = ("model.generate('a', tempersture=3)", "model.stream('a', tempersture=3)", "model.generate('a', temperature='hot')",
            "model.session().complete([1], tempersture=3)", "diffulex_edge.generate(model.session(), [1], step=1)",
            "model.generate_file('a', 'b', tempersture=3)", "model.generate(['a'], tempersture=3)", "model.generate('a', enable_thinking='no')",
            "model.session().complete([1], enable_thinking=False)")


def type_checker():
    for name in ("mypy", "pyright"):
        if importlib.util.find_spec(name) is not None:
            return [sys.executable, "-m", name]
        if shutil.which(name):
            return [shutil.which(name)]
    return None


def test_type_checkers_see_mistakes(tmp_path):
    """Those of programs that use the package; the package itself has none."""
    command = type_checker()
    if command is None:
        pytest.skip("neither mypy nor pyright is installed")
    (tmp_path / "good.py").write_text(PROGRAM.format(line=""))
    for i, line in enumerate(MISTAKES):
        (tmp_path / f"bad{i}.py").write_text(PROGRAM.format(line=line))
    environment = {**dict(__import__("os").environ), "MYPYPATH": str(PACKAGE.parent), "PYTHONPATH": str(PACKAGE.parent)}
    whole = ["--config-file", str(PACKAGE.parents[1] / "pyproject.toml"), str(PACKAGE)]
    done = subprocess.run([*command, *(whole if "mypy" in command else ()), "."], cwd=tmp_path, capture_output=True, text=True, env=environment)
    wrong = {line.split(":")[0] for line in done.stdout.splitlines() if "error:" in line}
    assert {Path(name).name for name in wrong} == {f"bad{i}.py" for i in range(len(MISTAKES))}, done.stdout + done.stderr


def test_hints_resolve():
    """typing.get_type_hints works for who has typing_extensions; without, signatures are still there."""
    assert typing.get_type_hints(diffulex_edge.Model.close) == {"return": type(None)}
