"""How programs end while something is decoded, and Ctrl-C: under every Python of DLX_PYTHONS (paths, separated by colons),
and the one that runs the tests. Needs nothing but the package there."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import DATA, exported  # noqa: F401 - a fixture

import diffulex_edge

HERE = Path(__file__).resolve().parent
SIGNALS = 25 if os.environ.get("DLX_PYTHONS") else 10
PYTHONS = [sys.executable, *filter(None, os.environ.get("DLX_PYTHONS", "").split(":"))]


def run(python, program, *arguments, timeout=120):
    environment = {**os.environ, "PYTHONPATH": str(Path(diffulex_edge.__file__).resolve().parent.parent),
                   "CHECKPOINT": str(DATA / "checkpoints" / "llada-tiny"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([python, "-W", "ignore:This process:DeprecationWarning", "-X", "faulthandler", str(HERE / program), *map(str, arguments)], text=True,
                          capture_output=True, timeout=timeout, env=environment)


ENDS = {  # how: (exit status, words of standard output, words of standard error)
    **{how: (0, "end", None) for how in (
        "next", "break", "unread", "function", "with", "with-model", "daemon", "daemon-native", "daemon-forward",
        "daemon-python-forward", "daemon-export", "batcher", "engine", "engine-blocks", "fork", "cycle", "asyncio")},
    "thread": (0, "steps 96", None),
    "atexit": (0, "late 8", None),
    "exit": (3, "", None),
    "callback-exit": (3, "", None),
    "error": (1, "", "KeyError: 'mine'"),
    "with-model-error": (1, "", "KeyError: 'mine'"),
    "callback-error": (1, "", "KeyError: 'mine'"),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_programs_end_cleanly(exported, python, how):
    status, out, err = ENDS[how]
    done = run(python, "ending_program.py", how, exported("llada-tiny"))
    assert done.returncode == status, done.stderr
    assert out in done.stdout
    if err is None:
        assert not done.stderr, done.stderr
    else:
        assert done.stderr.rstrip().endswith(err), done.stderr


CALLS = ("generate", "generate-steps", "complete", "session", "forward", "python-forward", "stream", "export", "diffusion",
         "blocks", "inference")


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_ctrl_c_is_never_lost(exported, python, what):
    done = run(python, "interrupted_program.py", what, SIGNALS, exported("llada-tiny"))
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    got, lost, late, slowest = re.search(r"got (\d+) lost (\d+) late (\d+) slowest ([0-9.]+)", done.stdout).groups()
    assert int(lost) == 0 and int(got) == SIGNALS, done.stdout
    assert float(slowest) < 5, done.stdout
    print(done.stdout, end="")


DROPS = ("session", "session-close", "workspace", "model", "tokenizer", "stream", "forward", "generate")


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_ctrl_c_while_things_are_opened_and_dropped(exported, python):
    done = run(python, "dropping_program.py", exported("llada-tiny"), 4 * SIGNALS, *DROPS, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert done.stdout.splitlines() == [f"{what} raised {4 * SIGNALS} lost 0 other 0" for what in DROPS], done.stdout
