"""What scripts/test.sh prints for a step: counts, and everything that was not tested."""
import importlib.util
import subprocess
import sys

import pytest

from program import DATA, ROOT

spec = importlib.util.spec_from_file_location("summarise_log", ROOT / "tools" / "summarise_log.py")
summarise_log = importlib.util.module_from_spec(spec)
spec.loader.exec_module(summarise_log)
summarise = summarise_log.summarise

OLD = "100% tests passed, 0 tests failed out of 42\n\nTotal Test time (real) =   2.1 sec\n"
NEW = "100% tests passed out of 2\n\nTotal Test time (real) =   0.26 sec\n"
NOT_RUN = "\nThe following tests did not run:\n\t 35 - test_tokenizer_qwen (Skipped)\n"
FAILED = ("\n97% tests passed, 1 tests failed out of 34\n\nTotal Test time (real) =   1.30 sec\n" + NOT_RUN +
          "\nThe following tests FAILED:\n\t 7 - test_quant (Failed)\n")


def test_ctest():
    assert summarise("Test project\n" + OLD) == ["42 of 42 passed"]
    assert summarise(NEW) == ["2 of 2 passed"]
    assert summarise(FAILED)[0] == "32 of 34 passed, 1 failed, 1 not run: test_tokenizer_qwen (Skipped)"


# What ctest 3.25 and 4.4 wrote about the same seven tests, and about three of them.
RECORDED = {
    "ctest-3.25-mixed": "1 of 7 passed, 3 failed, 3 not run: skip (Skipped), skip2 (Skipped), off (Disabled)",
    "ctest-4.4-mixed": "1 of 7 passed, 3 failed, 3 not run: skip (Skipped), skip2 (Skipped), off (Disabled)",
    "ctest-3.25-skipped": "1 of 3 passed, 2 not run: skip (Skipped), skip2 (Skipped)",
    "ctest-4.4-skipped": "1 of 3 passed, 2 not run: skip (Skipped), skip2 (Skipped)",
    "ctest-none": "0 of 0 passed",
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logs(name):
    assert summarise((DATA / "logs" / f"{name}.txt").read_text())[0] == RECORDED[name]


def test_a_log_inside_a_log_counts_for_nothing():
    assert summarise("1: " + FAILED + FAILED + OLD) == ["42 of 42 passed"]


def test_what_ctest_left_out_has_a_reason():
    said = "not run on this CPU: avx512vnni\nSKIPPED: there is no folder 'x'\n"
    assert summarise(NEW + NOT_RUN + said) == ["1 of 2 passed, 1 not run: test_tokenizer_qwen (Skipped)",
                                               "there is no folder 'x'", "not run on this CPU: avx512vnni"]
    assert summarise(NEW + said.splitlines()[0]) == ["2 of 2 passed", "not run on this CPU: avx512vnni"]
    assert summarise(NEW + NOT_RUN)[1:] == ["some of these do not say why"]


def test_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest, warnings\n"
        "def test_a(): warnings.warn('odd')\n"
        "@pytest.mark.parametrize('i', range(3))\n"
        "def test_b(i): pytest.skip('root may write everywhere')\n"
        "def test_c(): pytest.skip('no index')\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py"],
                          cwd=tmp_path, capture_output=True, text=True)
    lines = summarise(done.stdout)
    assert lines[0] == "1 passed, 4 skipped", done.stdout + done.stderr
    assert sorted(lines[1:]) == ["1 skipped: no index (test_it.py)", "3 skipped: root may write everywhere (test_it.py)"]
    two = done.stdout + "2 failed, 40 passed, 1 skipped, 3 warnings in 5.05s\n"
    assert summarise(two)[0] == "41 passed, 5 skipped, 2 failed"


def test_checks_and_builds():
    assert summarise("style: 408 files follow the rules\n") == ["style: 408 files follow the rules"]
    assert summarise("a\ndocs: 10 pages, 34 command lines, every link and flag exists\n")[0].startswith("docs: 10 pages")
    assert summarise("[1/2] Building\n[2/2] Linking\n") == ["2 of 2 steps"]
    assert summarise("ninja: no work to do.\n") == [""]
    assert summarise("no tests ran in 0.01s\n") == ["0 passed"]
    assert summarise("The following tests did not run:\nnote: these follow\n") == [""]
    rules = ("rule                 puzzles  solved    exact  passes  tokens/pass  ms/puzzle\n"
             "threshold 0.99             3       2  100.0 %    2.00        24.00        4.9\n"
             "one token a pass           1       1  100.0 %   48.00         1.00      104.0\n")
    assert summarise("[0/2] Re-checking\n" + rules) == ["3 of 4 puzzles solved"]
