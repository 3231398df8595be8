"""Packages that tests compare with.

On a machine without them those tests are skipped, and say so. CI sets DLX_REQUIRE_ORACLES: there a test that has
nothing to compare with fails. "core" stands for what tests/requirements-core.txt names, "all" for everything.
"""
import importlib
import importlib.util
import os

import pytest

CORE = ("numpy", "tokenizers", "jinja2", "safetensors", "wasmtime")


def required(package):
    wanted = os.environ.get("DLX_REQUIRE_ORACLES", "")
    assert wanted in ("", "core", "all"), f"DLX_REQUIRE_ORACLES is {wanted!r}; expected core or all"
    return wanted == "all" or (wanted == "core" and package in CORE)


def oracle(name, what):
    """The module `name`. `what` ends in "is" or "are": what is not checked without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing(name, what, error)


def present(name, what):
    """The same for a package that only processes of the test import, which costs nothing here."""
    try:
        error = None if importlib.util.find_spec(name) else f"No module named '{name}'"
    except ImportError as parent:
        error = parent
    if error:
        missing(name, what, error)


def missing(name, what, error):
    package = name.split(".")[0]
    if required(package):
        raise RuntimeError(f"DLX_REQUIRE_ORACLES asks for {package}, which cannot be imported: {error}; {what} "
                           "NOT checked")
    pytest.skip(f"no package {package}: {what} NOT checked", allow_module_level=True)


def not_here(reason):
    """Skips for a reason that a machine may have, but CI may not."""
    if required("numpy"):
        raise RuntimeError(f"DLX_REQUIRE_ORACLES is set, yet {reason}")
    pytest.skip(reason, allow_module_level=True)
