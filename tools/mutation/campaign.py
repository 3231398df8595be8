"""Runs the tests against mutants, one at a time, and remembers what happened to each.

First every test runs on the woven build without a mutant (it must pass) and on the trace build (which says which mutants it
reaches). A mutant then meets the tests that reach it, those of its own room first, until one fails: ctest's tests, and for
what they let live the fast part of pytest.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from typing import NamedTuple

# The fast part of pytest: less than a minute together, nothing that needs PyTorch or decodes hundreds of puzzles.
SLOW = "test_demo_goldens or test_sudoku_counts or test_eval_of_puzzles or test_answers_of_the_official_runtime"
FAST_PYTEST = ("test_cli.py", "test_cli_chat.py", "test_cli_errors.py", "test_dialog_model.py", "test_foreign_programs.py",
               "test_py_closing.py", "test_py_engine_runs.py", "test_py_engine_settings.py", "test_py_many.py",
               "test_py_export_names.py", "test_py_package.py", "test_py_runtime_api.py", "test_py_runtime_blocks.py",
               "test_py_runtime_callables.py", "test_py_sampler_vectors.py", "test_py_scripts.py", "test_py_sources.py",
               "test_py_workspace.py")
SLOW_CTEST = 10.0  # seconds
PATIENCE = 4  # a test that took too long gets so many times the limit before that counts
MOST_MEMORY = 6 << 30  # a mutant that asks for more has failed
MOST_FILE = 8 << 30  # tests write sparse ones


class Test(NamedTuple):
    name: str
    kind: str  # ctest, pytest
    command: list
    folder: str
    environment: dict
    skip: int  # exit status that means "cannot run here"


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE, MOST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def kill_marked(mark):
    """What a test started in sessions of their own, as terminals need: a mutant may run for ever there."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            pass  # it ended, or is not ours


class Campaign:
    def __init__(self, shop, plan, python, jobs, say, under=None, names=None):
        self.shop, self.plan, self.jobs, self.say = shop, plan, jobs, say
        self.under = under or 1e9  # tests that take longer are left out
        self.names = names  # expression for those that run; None: all
        self.python = python  # None: no pytest
        self.mutants = plan["mutants"]
        self.known_file = shop.folder / "tests.json"
        self.results_file = shop.folder / "results.jsonl"
        self.lock = threading.Lock()

    # ---- tests

    def tests(self, which):
        build = self.shop.builds[which]
        listed = json.loads(subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True,
                                           capture_output=True, text=True).stdout)
        found = []
        for t in listed["tests"]:
            properties = {p["name"]: p["value"] for p in t.get("properties", [])}
            if "command" not in t:
                continue
            environment = dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", []))
            found.append(Test(t["name"], "ctest", t["command"], properties.get("WORKING_DIRECTORY", str(build)), environment,
                              int(properties.get("SKIP_RETURN_CODE", 0))))
        if self.python:
            environment = {"DLX_BUILD_DIR": str(build), "DLX_CLI": str(build / "cli" / "diffulex-edge"),
                           "PYTHONPATH": str(self.shop.tree / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
            for file in FAST_PYTEST:
                command = [self.python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", f"not ({SLOW})",
                           f"tests/py/{file}"]
                found.append(Test(file, "pytest", command, str(self.shop.tree), environment, 0))
        return [t for t in found if not self.names or re.search(self.names, t.name)]

    def run_test(self, test, limit, variables):
        """(how it failed or None, seconds)."""
        mark = f"DLX_MUTATION_RUN={uuid.uuid4().hex}"
        environment = {**os.environ, **test.environment, **variables, **dict([mark.split("=")])}
        start = time.monotonic()
        process = subprocess.Popen(test.command, cwd=test.folder, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                   preexec_fn=limits)
        try:
            code = process.wait(timeout=limit)
            how = None if code == 0 or (test.skip and code == test.skip) else (
                f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}")
        except subprocess.TimeoutExpired:
            how = "time-out"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            kill_marked(mark.encode())
        return how, time.monotonic() - start

    # ---- what the tests do without a mutant

    def learn(self):
        """Times and reach of all tests; kept until the tree changes."""
        self.known = {}
        if self.known_file.is_file():
            known = json.loads(self.known_file.read_text())
            if known["digest"] == self.plan["digest"]:
                self.known = known["tests"]

        def one(test, traced):
            if test.name in self.known:
                return []
            how, seconds = self.run_test(test, 600, {})
            file = self.shop.folder / f"reach-{test.name}"
            file.write_bytes(bytes(len(self.mutants) // 1000 * 1000 + 1000))
            traced_how, _ = self.run_test(traced, 600, {"DLX_MUTANT_FILE": str(file)})
            reached = [n for n, byte in enumerate(file.read_bytes()) if byte]
            file.unlink()
            if how or traced_how:
                return [f"{test.name}: {how or traced_how}"]
            with self.lock:
                self.known[test.name] = {"seconds": seconds, "reached": reached}
                self.known_file.write_text(json.dumps({"digest": self.plan["digest"], "tests": self.known}))
            return []

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            wrong = sum(pool.map(one, self.tests("build"), self.tests("trace")), [])
        if wrong:
            raise RuntimeError("tests fail without a mutant: " + ", ".join(wrong))
        self.say(f"{len(self.known)} tests pass without a mutant, in {sum(t['seconds'] for t in self.known.values()):.0f} s")

    def tests_for(self, number, tests):
        """Those that reach the mutant: quick ones of ctest, pytest, slow ones of ctest; in each part by how much of what a
        test reaches lies in the mutant's room."""
        room = self.mutants[number - 1]["room"]

        def order(test):
            reached = self.known[test.name]["reached"]
            own = sum(self.mutants[n - 1]["room"] == room for n in reached) / len(reached)
            seconds = self.known[test.name]["seconds"]
            part = 1 if test.kind == "pytest" else 2 if seconds > SLOW_CTEST else 0
            return part, -round(own, 1), seconds

        return sorted((t for t in tests if number in self.known[t.name]["reached"]
                       and self.known[t.name]["seconds"] <= self.under), key=order)

    # ---- mutants

    def results(self):
        """key -> the last result that still holds: a kill while the mutant's file is the same, a survival while the whole
        tree is."""
        found = {}
        if self.results_file.is_file():
            for line in self.results_file.read_text().splitlines():
                try:
                    r = json.loads(line)
                except ValueError:  # interrupted while it was written
                    continue
                holds = (r["source"] == self.shop.hashes.get(r["file"]) if r["killed"]
                         else r["tree"] == self.plan["digest"] and r["pytest"] >= bool(self.python)
                         and r["under"] >= self.under and r.get("names") in (None, self.names))
                if holds:
                    found[r["key"]] = r
        return found

    def attack(self, number, tests):
        m = self.mutants[number - 1]
        killed, tried = None, self.tests_for(number, tests)
        for test in tried:
            seconds = self.known[test.name]["seconds"]
            limit = max(10.0 if test.kind == "ctest" else 40.0, 5 * seconds)
            how, _ = self.run_test(test, limit, {"DLX_MUTANT": str(number)})
            if how == "time-out":  # a machine that is busy for a while is no failure
                how, _ = self.run_test(test, PATIENCE * limit, {"DLX_MUTANT": str(number)})
            if how:
                killed = {"by": test.name, "kind": test.kind, "how": how}
                break
        result = {"key": m["key"], "file": m["file"], "room": m["room"], "killed": killed, "tests": len(tried),
                  "source": self.shop.hashes[m["file"]], "tree": self.plan["digest"], "pytest": bool(self.python),
                  "under": self.under, "names": self.names}
        with self.lock:
            with open(self.results_file, "a", encoding="utf-8") as f:
                f.write(json.dumps(result) + "\n")
            self.done += 1
            verdict = f"killed by {killed['by']} ({killed['how']})" if killed else f"SURVIVED {len(tried)} tests"
            self.say(f"[{self.done}/{self.todo}] {number} {m['file']}:{m['line']} {m['before'][:50]} -> {m['after'][:50]}: "
                     f"{verdict}")

    def run(self, numbers):
        self.learn()
        tests = self.tests("build")
        have = self.results()
        todo = [n for n in numbers if self.mutants[n - 1]["key"] not in have]
        self.done, self.todo = 0, len(todo)
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            running = [pool.submit(self.attack, n, tests) for n in todo]
            try:
                for r in running:
                    r.result()
            except BaseException:
                for r in running:
                    r.cancel()
                raise


def default_python(root):
    path = root / "build" / "venv" / "bin" / "python"
    return str(path) if path.exists() else sys.executable
