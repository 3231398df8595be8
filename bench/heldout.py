"""Questions with known answers, and what can be said about two programs that answered the same ones. For the scripts
beside it."""
import argparse
import json
import math
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PROGRAM = os.environ.get("DLX_CLI", str(ROOT / "build" / "release" / "cli" / "diffulex-edge"))


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def positive(text):
    """A count of the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return value


def questions_of(path, count):
    """(prompt or messages, answer) of the first `count` lines, of all for 0."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines()):
        if count and number == count:
            break
        question = json.loads(line)
        yield question.get("messages") or question["prompt"], question["answer"]


def evaluate(program, pte, questions, options, count=0, threads=1, name=None):
    """What `diffulex-edge eval --json` prints; ends the script, which is `name`, when it fails."""
    command = [program, "eval", str(pte), str(questions), "--json", "--threads", str(threads)]
    if count:
        command += ["--count", str(count)]
    done = subprocess.run(command + list(options), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name or pte}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def mcnemar(only_one, only_other):
    """Probability of a split at least as uneven when both are equally good (exact, two-sided)."""
    n, least = only_one + only_other, min(only_one, only_other)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def paired(wrong, wrong_other):
    """Two programs by the numbers of the questions that each got wrong: which only one of them got right."""
    only_base, only_other = len(set(wrong_other) - set(wrong)), len(set(wrong) - set(wrong_other))
    return {"only_first_right": only_base, "only_this_right": only_other, "p": mcnemar(only_base, only_other)}
