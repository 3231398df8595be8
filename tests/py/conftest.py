"""What holds for every test."""
import gc
import signal

import pytest


def pytest_collection_finish(session):
    """What was imported by now stays: no collection has to look at PyTorch's objects again, which takes a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def signals_end_programs():
    """A shell that puts a job into the background has it ignore Ctrl-C, and nohup a hangup; programs inherit that. Tests send
    such signals and expect what a terminal's user sees."""
    ignored = [n for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM) if signal.getsignal(n) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
