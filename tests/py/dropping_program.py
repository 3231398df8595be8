"""Signals at random moments of loops that open, use and drop things, of which a handler's exception is to come out, each time;
test_py_ending.py runs it under each Python. What is closed twice crashes, now or later.

arguments: the .pte, how many signals for each, and what is done. Prints a line for each: what, and how many were raised, were
lost, or came out as another exception."""
import random
import signal
import sys
import time

import diffulex_edge as d


class Interrupt(BaseException):
    pass


def interrupt(*_):
    raise Interrupt


path, count = sys.argv[1], int(sys.argv[2])
model = d.Model(path, threads=1)
session = model.session()
DO = {
    "session": lambda: model.session(),
    "session-close": lambda: model.session().close(),
    "workspace": lambda: model.workspace(max_sessions=2).session(),
    "model": lambda: d.Model(path, threads=1),
    "tokenizer": lambda: d.Tokenizer.from_pte(path),
    "stream": lambda: next(model.stream([5, 6, 7], gen_length=4, block_length=4, steps=4), None),
    "forward": lambda: session.forward([5, 6, 7]),
    "generate": lambda: model.generate([5, 6, 7], gen_length=4, block_length=4, steps=4),
}


def one(do, delay):
    """Raises, or returns when that is overdue."""
    signal.setitimer(signal.ITIMER_REAL, delay)
    until = time.monotonic() + 5
    while time.monotonic() < until and signal.getitimer(signal.ITIMER_REAL)[0]:
        do()
    do()


signal.signal(signal.SIGALRM, interrupt)
sys.unraisablehook = lambda about: None     # counted as lost
for what in sys.argv[3:]:
    draw = random.Random(what)
    DO[what]()      # what is imported at first is behind it: Python's imports drop exceptions (docs/PYTHON.md)
    raised = lost = other = 0
    for _ in range(count):
        try:
            one(DO[what], draw.uniform(0.0005, 0.01))
            lost += 1
        except Interrupt:
            raised += 1
        except Exception as error:
            other += 1
            print(repr(error))
    print(f"{what} raised {raised} lost {lost} other {other}")
