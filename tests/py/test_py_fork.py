"""Processes that are forked off while a decode runs: they are told what is not theirs, and never wait for threads that stayed
behind. Under every Python of DLX_PYTHONS, and the one that runs the tests."""
import os

import pytest
from exported_files import exported  # noqa: F401 - a fixture
from test_py_ending import PYTHONS, run

BEGUN = "RuntimeError: this was begun before this process was forked off, and the thread that does it stayed with the other one"
OPENED = "was opened before this process was forked off, and its threads are not here: open it in this process, or start " \
    "processes with multiprocessing's 'spawn'"
ANSWERS = {
    "next_piece": BEGUN, "from_a_callback": BEGUN,
    "stream_closed": "None", "stream_dropped": "None", "model_closed": "None", "model_left": "None",
    "model_at_rest": OPENED, "session_busy": OPENED, "batched": OPENED, "pool": OPENED, "multiprocessing": OPENED,
    "tokenizer": "'ab'", "opened_anew": "'length'", "parent": "length",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_a_child_process_is_told_what_is_not_its_own(exported, python):
    done = run(python, "forked_program.py", exported("llada-tiny"))
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(said) == set(ANSWERS)
    for case, answer in ANSWERS.items():
        assert answer in said[case], case
