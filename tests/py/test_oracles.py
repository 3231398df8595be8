"""Nothing to compare with: a skip that says so on a developer's machine, a failure in CI."""
import re
from pathlib import Path

import pytest

from oracles import not_here, oracle, present

HERE = Path(__file__).resolve().parent


@pytest.fixture
def missing(monkeypatch):
    """Packages that cannot be imported."""
    for name in ("tokenizers", "torch", "torch.nn"):
        monkeypatch.setitem(__import__("sys").modules, name, None)


@pytest.mark.parametrize("ask", (oracle, present))
def test_without_the_switch_it_is_a_skip_with_a_reason(missing, monkeypatch, ask):
    monkeypatch.delenv("DLX_REQUIRE_ORACLES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no package torch: gradients are NOT checked"):
        ask("torch.nn", "gradients are")
    with pytest.raises(pytest.skip.Exception, match="there is no compiler"):
        not_here("there is no compiler")


@pytest.mark.parametrize("ask", (oracle, present))
@pytest.mark.parametrize("wanted,package,fails", (("core", "tokenizers", True), ("core", "torch", False),
                                                  ("all", "tokenizers", True), ("all", "torch", True)))
def test_ci_says_what_must_be_there(missing, monkeypatch, wanted, package, fails, ask):
    monkeypatch.setenv("DLX_REQUIRE_ORACLES", wanted)
    with pytest.raises(RuntimeError if fails else pytest.skip.Exception, match=f"{package}.*encoding is NOT checked"):
        ask(package, "encoding is")
    with pytest.raises(RuntimeError, match="there is no compiler"):
        not_here("there is no compiler")


def test_what_is_there_is_given(monkeypatch):
    for wanted in ("", "core", "all"):
        monkeypatch.setenv("DLX_REQUIRE_ORACLES", wanted)
        assert oracle("json.decoder", "nothing is").JSONDecoder
        present("json.decoder", "nothing is")
    monkeypatch.setenv("DLX_REQUIRE_ORACLES", "yes")
    with pytest.raises(AssertionError, match="expected core or all"):
        oracle("a_package_that_nobody_has", "nothing is")
    with pytest.raises(AssertionError, match="expected core or all"):
        present("a_package_that_nobody_has", "nothing is")


def test_no_test_goes_around_it():
    """pytest's own importorskip and a swallowed ImportError would hide a missing package."""
    for file in sorted(HERE.glob("*.py")):
        if file.name in ("oracles.py", Path(__file__).name):
            continue
        code = file.read_text()
        assert "importorskip" not in code, file.name
        outside = re.sub(r'""".*?"""', "", code, flags=re.S)
        assert not re.search(r"except (\(.*)?(ImportError|ModuleNotFoundError)", outside), file.name
