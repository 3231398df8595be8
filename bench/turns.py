"""Processes that take turns: while one computes, the others wait for their pipe; and how they end. For the scripts beside it."""
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

WORKERS = Path(__file__).resolve().parent / "workers.py"
PATIENCE = 10   # seconds in which a process that was asked to end removes what it has half written


def end(process):
    """Ends a process that leads a group (os.setpgrp), with all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)


def finished(words, **more):
    """subprocess.run for a process that is ended when waiting for it is: Ctrl-C at a terminal is this process's alone."""
    with subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, preexec_fn=os.setpgrp, **more) as process:
        try:
            out, errors = process.communicate()
        except BaseException:
            end(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


class Worker:
    """kind, arguments   of KINDS in workers.py
    python, log       the interpreter, and the file that gets what libraries print (None: the standard error)
    environment       on top of this process's own"""

    def __init__(self, kind, *arguments, python=sys.executable, log=None, environment=None):
        self.kind, self.log = kind, log
        errors = open(log, "a", encoding="utf-8") if log else None
        self.process = subprocess.Popen([python, WORKERS, kind, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})},
                                        preexec_fn=os.setpgrp)
        if errors:
            errors.close()
        try:
            self.about = self._answer()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop() if kind else self.close()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"the process of {self.kind} ended with status {self.process.returncode}"
                               + (f"; see {self.log}" if self.log else ""))
        return json.loads(line)

    def ask(self, rows, context=0, **more):
        """{"ms": ..., ...} of one pass of so many rows behind so many cached positions."""
        try:
            self.process.stdin.write(json.dumps({"rows": rows, "context": context, **more}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass    # its end is what the answer says
        return self._answer()

    def stop(self):
        """Its end, whatever it is at."""
        end(self.process)
        with contextlib.suppress(OSError):  # a question that it never read
            self.process.stdin.close()
        self.process.stdout.close()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
