"""Running the program diffulex-edge, for the tests of its commands."""
import gzip
import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data"
DEMO = ROOT / "demo" / "sudoku6-llada"
CLI = os.environ.get("DLX_CLI", str(ROOT / "build" / "release" / "cli" / "diffulex-edge"))
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")


def start(*args, env=None, **kwargs):
    """Runs the program to its end; returns what subprocess.run does, output as text."""
    return subprocess.run([CLI, *map(str, args)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(env or {})}, **{"stdin": subprocess.DEVNULL, **kwargs})


def run(*args, **kwargs):
    """Standard output of a run that must succeed and say nothing on the standard error."""
    done = start(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def run_json(*args, **kwargs):
    return json.loads(run(*args, "--json", **kwargs))


def fail(*args, status=1, **kwargs):
    """The sentence of a run that must fail with this exit status: one line on the standard error."""
    done = start(*args, **kwargs)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("diffulex-edge: ") and done.stderr.endswith("\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr[len("diffulex-edge: "):-1]


def export(checkpoint, output, quantization="none", *more):
    done = start("export", "--hf-model-path", checkpoint, "--output-path", output, "--quantization", quantization, *more)
    assert (done.returncode, without_note(done.stderr)) == (0, ""), done.stderr
    return output


def without_note(error):
    """Standard error without the line about a checkpoint that has no tokenizer."""
    return re.sub(r"^diffulex-edge: note: '.*' has no tokenizer: the program takes token ids only.*\n", "", error)


def flags(options):
    """Options of a recorded trace as the command line takes them."""
    out = []
    for name, value in options.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        elif value is None:
            value = "null"
        out += ["--" + name.replace("_", "-"), str(value)]
    return out


def ids_text(ids):
    return ",".join(map(str, ids))


def traces(model):
    return json.loads(gzip.decompress((DATA / "traces" / f"{model}.json.gz").read_bytes()))


def on_terminal(*args, columns=80, rows=24, env=None, stdout=True):
    """(exit status, what appears on an 80-column terminal) of a run whose standard error, and output if `stdout`, is
    one."""
    main, side = pty.openpty()
    import fcntl
    import struct
    import termios
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    done = subprocess.Popen([CLI, *map(str, args)], stdin=subprocess.DEVNULL, stderr=side,
                            stdout=side if stdout else subprocess.DEVNULL,
                            env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(side)
    seen, deadline = b"", time.monotonic() + 300
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(main, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(main)
    return done.wait(timeout=10), seen.decode("utf-8", "replace")
