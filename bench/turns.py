"""Processes that take turns: while one computes, the others wait for their pipe. For the scripts beside it."""
import json
import os
import subprocess
import sys
from pathlib import Path

WORKERS = Path(__file__).resolve().parent / "workers.py"


class Worker:
    """kind, arguments   of KINDS in workers.py
    python, log       the interpreter, and the file that gets what libraries print (None: the standard error)
    environment       on top of this process's own"""

    def __init__(self, kind, *arguments, python=sys.executable, log=None, environment=None):
        self.kind, self.log = kind, log
        errors = open(log, "a", encoding="utf-8") if log else None
        self.process = subprocess.Popen([python, WORKERS, kind, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})})
        if errors:
            errors.close()
        self.about = self._answer()

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

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
