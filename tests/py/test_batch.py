"""`diffulex-edge batch`: the same answers as the server's, a line for each request whatever happens meanwhile, and nothing
that is not its own."""
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import time

import pytest

import server as S
from program import CLI, fail, on_terminal, run, run_json, start

S.require()
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
WORDS = "pear plum fig kiwi melon".split()
LONG = {"prompt": "What", "max_tokens": 500, "n": 40,  # one token a pass, and nothing ends it
        "diffusion": {"stop_ids": "none", "strategy": "low_confidence_static", "denoising_steps": 8}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return S.export_all(tmp_path_factory.mktemp("batch"), ["dialog"])["dialog"]


def line(i, url=CHAT, **body):
    if not body:
        body = {"model": "dialog", "messages": [{"role": "user", "content": f"Spell {WORDS[i % 5]}."}]}
    return {"custom_id": f"r-{i}", "method": "POST", "url": url, "body": body}


def write(path, lines):
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def read(*paths):
    """Results by their ids; each is there once, whole, and in OpenAI's shape."""
    lines = [json.loads(text) for path in paths if path.exists() for text in path.read_text().splitlines()]
    assert all(set(r) == {"id", "custom_id", "response", "error"} and r["error"] is None for r in lines)
    assert all(set(r["response"]) == {"status_code", "request_id", "body"} for r in lines)
    assert len({r["id"] for r in lines}) == len(lines)
    assert all(path.read_bytes().endswith(b"\n") for path in paths if path.exists() and path.stat().st_size)
    results = {r["custom_id"]: r["response"] for r in lines}
    assert len(results) == len(lines)
    return results


def text_of(response):
    assert response["status_code"] == 200, response
    return response["body"]["choices"][0]["message"]["content"]


def spelt(i):
    return "-".join(WORDS[i % 5])


def until(fact):
    deadline = time.monotonic() + 120
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def begun(*args, **kwargs):
    """A batch that is there until the end of the block, at the most."""
    process = subprocess.Popen([CLI, "batch", "--threads", "1", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
    with process:
        try:
            yield process
        finally:
            process.kill()


def n_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_answers_are_those_of_the_server(model, tmp_path):
    bodies = [(CHAT, {"messages": [{"role": "user", "content": "Spell pear."}], "logprobs": True, "n": 2}),
              (CHAT, {"messages": [{"role": "user", "content": "Spell plum."}], "stream": True,
                      "stream_options": {"include_usage": True}}),
              (TEXT, {"prompt": ["p-e-", "f-"], "max_tokens": 5}),
              (TEXT, {"prompt": "Spell", "max_tokens": 9, "temperature": 1, "seed": 2 ** 64 - 3}),
              (RESPONSES, {"input": "Spell fig.", "instructions": "Be brief."}),
              ("/infill", {"input_prefix": "p-", "input_suffix": "-r", "n_predict": 3}),
              ("/tokenize", {"content": "Spell"}),
              (CHAT, {"messages": "Spell pear."}),
              (TEXT, {"prompt": "p", "max_tokens": 100000}),
              (TEXT, {"prompt": "p", "presence_penalty": 1})]
    source = write(tmp_path / "in", [line(i, url, **body) for i, (url, body) in enumerate(bodies)])
    summary = run_json("batch", model, source, tmp_path / "out")
    assert (summary["requests"], summary["answered"], summary["failed"]) == (10, 10, 3) and summary["complete"] is True
    got = read(tmp_path / "out")

    def same(value):    # but for what no two requests have in common
        if isinstance(value, dict):
            return {k: same(v) for k, v in value.items() if k not in ("id", "created", "created_at", "milliseconds", "cached_tokens")}
        return [same(v) for v in value] if isinstance(value, list) else value
    with S.serving(model, "--rows", 64) as s:
        for i, (url, body) in enumerate(bodies):
            status, _, text = s.ask("POST", url, {k: v for k, v in body.items() if not k.startswith("stream")})
            assert (status, same(json.loads(text))) == (got[f"r-{i}"]["status_code"], same(got[f"r-{i}"]["body"])), i
    usage = [got[f"r-{i}"]["body"]["usage"]["completion_tokens"] for i in (0, 1, 2, 3, 5)]
    assert summary["completion_tokens"] == sum(usage) + got["r-4"]["body"]["usage"]["output_tokens"]


def test_kill_at_any_moment_loses_and_repeats_nothing(model, tmp_path):
    n, out, errors = 600, tmp_path / "out", tmp_path / "errors"
    source = write(tmp_path / "in", [line(i, **({"prompt": 1} if i % 40 == 7 else {})) for i in range(n)])
    moments, killed = random.Random(5), 0
    for k in range(6):
        with begun(model, source, out, "--errors", errors, "--parallel", 2) as process:
            goal = n_lines(out) + n_lines(errors) + moments.randrange(1, 60)
            until(lambda: n_lines(out) + n_lines(errors) >= goal or process.poll() is not None)
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        if k % 2:   # as if a write had been cut as well
            with open(out, "r+b") as file:
                file.truncate(out.stat().st_size - moments.randrange(1, 50))
    assert killed >= 4
    before = n_lines(out) + n_lines(errors)
    summary = run_json("batch", model, source, out, "--errors", errors, "--threads", 1)
    assert 0 < before < n and summary["resumed"] == before and summary["answered"] == n - before and summary["complete"]
    assert set(read(errors)) == {f"r-{i}" for i in range(7, n, 40)}
    got = read(out, errors)
    assert set(got) == {f"r-{i}" for i in range(n)}
    assert all(text_of(got[f"r-{i}"]) == spelt(i) for i in range(n) if i % 40 != 7)
    there = out.read_bytes()
    assert run_json("batch", model, source, out, "--errors", errors)["resumed"] == n and out.read_bytes() == there
    # Without the errors, their requests are answered once more.
    errors.unlink()
    assert run_json("batch", model, source, out, "--errors", errors)["answered"] == len(range(7, n, 40))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_runs_finish(model, tmp_path, number):
    """From a pipe that stays open: there is no other end than the signal."""
    out = tmp_path / "out"
    with begun(model, "-", out, "--stop-seconds", 60, stdin=subprocess.PIPE) as process:
        process.stdin.write("".join(json.dumps(line(i)) + "\n" for i in range(30)))
        process.stdin.flush()
        until(lambda: n_lines(out) == 30)
        process.stdin.write(json.dumps(line(30, TEXT, **{**LONG, "n": 2, "max_tokens": 100})) + "\n" + json.dumps(line(31))[:20])
        process.stdin.flush()
        process.send_signal(number)
        assert process.wait(120) == 128 + number
        output, error = process.communicate()
    assert output.startswith("interrupted: ") and error == ""
    assert set(read(out)) >= {f"r-{i}" for i in range(30)} and n_lines(out) <= 31


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a process does not tell here what it does with signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_is_opened_is_the_end(model, tmp_path, number):
    """Held as soon as the output is there, while it has one thread yet; a process that has more answers already, and another
    one is begun."""
    def status_of(process, name):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            return next(text for text in f if text.startswith(name)).split()[1]
    source = write(tmp_path / "in", [line(0, TEXT, **LONG)])
    for attempt in range(40):
        out = tmp_path / str(attempt)
        with begun(model, source, out, "--stop-seconds", 600) as process:
            while not out.exists():
                assert process.poll() is None
            process.send_signal(signal.SIGSTOP)
            until(lambda: status_of(process, "State:") == "T")
            if status_of(process, "Threads:") == "1":
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)
                assert process.communicate(timeout=60) == ("", "") and process.returncode == 128 + number and n_lines(out) == 0
                return
    raise AssertionError("no process was seen while it opened the model")


def test_the_end_does_not_wait_forever(model, tmp_path):
    out = tmp_path / "out"
    source = write(tmp_path / "in", [line(0), line(1, TEXT, **LONG), line(2)])
    with begun(model, source, out, "--stop-seconds", 0, "--json") as process:
        until(lambda: n_lines(out) == 2)
        process.send_signal(signal.SIGTERM)
        output, error = process.communicate(timeout=60)
    summary = json.loads(output)
    assert process.returncode == 143 and error == "" and summary["complete"] is False and summary["answered"] == 2
    assert set(read(out)) == {"r-0", "r-2"}


def test_pipes(model, tmp_path):
    lines = [line(i) for i in range(8)]
    text = "".join(json.dumps(each) + "\n" for each in lines)
    done = start("batch", model, "-", tmp_path / "out", stdin=None, input=text)
    assert done.returncode == 0 and done.stderr == "" and len(read(tmp_path / "out")) == 8
    done = start("batch", model, "-", tmp_path / "out", "--json", stdin=None, input=text + json.dumps(line(8)))
    assert json.loads(done.stdout)["resumed"] == 8 and len(read(tmp_path / "out")) == 9
    # A mistake ends it where it stands; what came before is there.
    done = start("batch", model, "-", tmp_path / "more", stdin=None, input=text + text)
    assert done.returncode == 1 and "'standard input', line 9: it has the custom_id 'r-0' of line 1" in done.stderr
    assert set(read(tmp_path / "more")) <= {f"r-{i}" for i in range(8)}


@pytest.mark.parametrize("text, why", [
    ("", "has no line to read"),
    ("{", "line 1: it is not JSON: column 1: "), (json.dumps(line(0))[:-1] + ', "custom_id": "x"}', "line 1: it names a member twice: column "),
    (json.dumps(line(0)) + "\n" + json.dumps(line(1, TEXT, prompt="a\0")), "line 2: it has the character U+0000, which no text may have, in 'body.prompt'"),
    ("[1]\n", "line 1: it is no JSON object"),
    (json.dumps(line(0)) + "\n\n" + json.dumps({**line(1), "custom_id": ""}), "line 3: it has no text \"custom_id\""),
    (json.dumps({**line(0), "method": "GET"}), "line 1: its \"method\" is not \"POST\""),
    (json.dumps({**line(0), "url": "/v1/embeddings"}), "its \"url\" '/v1/embeddings'"),
    (json.dumps({**line(0), "url": "/v1/models"}), "its \"url\" '/v1/models'"),
    (json.dumps({**line(0), "url": None}), "it has no text \"url\""),
    (json.dumps({**line(0), "body": "text"}), "it has no object \"body\""),
    (json.dumps(line(0)) + "\n" + json.dumps(line(1)) + "\n" + json.dumps(line(0)), "line 3: it has the custom_id 'r-0' of line 1"),
    (json.dumps(line(0)).encode("utf-16"), "is text in UTF-16"),
])
def test_requests_that_are_refused(model, tmp_path, text, why):
    source = tmp_path / "in"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert why in fail("batch", model, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_results_are_left_alone(model, tmp_path):
    source = write(tmp_path / "in", [line(0), line(1)])
    for text in ("a letter", "{}\n", json.dumps(line(0)) + "\n", '{"id": "x'):
        (tmp_path / "out").write_text(text)
        assert "is no result of a batch; name another output" in fail("batch", model, source, tmp_path / "out")
        assert (tmp_path / "out").read_text() == text
    same, link, folder = tmp_path / "same", tmp_path / "link", tmp_path / "folder"
    os.link(source, same)
    link.symlink_to(source)
    folder.mkdir()
    before = source.read_bytes()
    for out in (source, same, link):
        assert "are one file" in fail("batch", model, source, out)
        assert "are one file" in fail("batch", model, source, tmp_path / "new", "--errors", out)
    assert source.read_bytes() == before
    assert "are one file" in fail("batch", model, source, tmp_path / "o", "--errors", tmp_path / "o")
    with open(source, "rb") as stdin:
        assert "are one file" in fail("batch", model, "-", source, stdin=stdin)
    content = model.read_bytes()
    assert "are one file" in fail("batch", model, source, model) and model.read_bytes() == content
    assert "is a folder, a device or a pipe" in fail("batch", model, source, folder)
    assert "cannot open" in fail("batch", model, source, tmp_path / "none" / "out")
    assert "is a folder" in fail("batch", model, folder, tmp_path / "out2")
    assert "'/nonexistent.pte'" in fail("batch", "/nonexistent.pte", source, tmp_path / "out3")
    assert not (tmp_path / "out3").exists()
    for args in ((), (model, source), (model, source, "-"), (model, source, tmp_path / "o", "x"),
                 (model, source, tmp_path / "o", "--parallel", 0), (model, source, tmp_path / "o", "--errors", "-")):
        assert start("batch", *args).returncode == 2


def test_two_runs_do_not_share_an_output(model, tmp_path):
    out, source = tmp_path / "out", write(tmp_path / "in", [line(0)])
    with begun(model, "-", out, stdin=subprocess.PIPE) as first:
        first.stdin.write(json.dumps(line(5)) + "\n")
        first.stdin.flush()
        until(lambda: n_lines(out) == 1)
        assert "is being written by another batch" in fail("batch", model, source, out)
        first.stdin.close()
        assert first.wait(60) == 0
    assert run_json("batch", model, source, out)["answered"] == 1 and set(read(out)) == {"r-5", "r-0"}


def test_a_full_disk(model, tmp_path):
    """A file that may not grow further stands for it: what is there is whole, and the next run goes on."""
    out, source = tmp_path / "out", write(tmp_path / "in", [line(i) for i in range(40)])
    done = start("batch", model, source, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)))
    assert done.returncode == 1 and f"cannot write '{out}': " in done.stderr and done.stderr.count("\n") == 1
    assert 0 < len(read(out)) < 40 and out.stat().st_size <= 5000
    assert run_json("batch", model, source, out)["complete"] and len(read(out)) == 40


def test_progress_and_summary(model, tmp_path):
    source = write(tmp_path / "in", [line(i) for i in range(300)])
    status, shown = on_terminal("batch", model, source, tmp_path / "out", "--parallel", 1)
    assert status == 0 and " of 300 answered, 0 failed, " in shown and " tokens/s" in shown and " left" in shown
    assert "300 of 300 requests answered in " in shown
    assert "; 300 had results" in run("batch", model, source, tmp_path / "out")


def test_memory_does_not_grow_with_the_file(model, tmp_path):
    """Requests that are answered at once, so that what is kept of each is what is measured."""
    def peak(n):
        source = write(tmp_path / f"in{n}", [line(i, "/tokenize", content="x") for i in range(n)])
        script = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
                  "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        done = subprocess.run(["python3", "-c", script, CLI, "batch", str(model), str(source), str(tmp_path / f"out{n}")],
                              capture_output=True, text=True, check=True)
        return int(done.stdout) * 1024
    few, many = peak(100), peak(int(os.environ.get("DLX_BATCH_LINES", 20000)))
    assert many - few < 100 * int(os.environ.get("DLX_BATCH_LINES", 20000)) + (1 << 20)
