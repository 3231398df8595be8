"""Files and signals around the program: what is no file is neither replaced nor waited for, what is read is not written
over, what changes meanwhile is an error, nothing half-written stays, and exit statuses say which signal ended it."""
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from program import CLI, DATA, export, fail, run, run_json, start, without_note
from test_cli_chat import Terminal

CHECKPOINT = DATA / "checkpoints" / "sdar-tiny"
MAKE = Path(CLI).resolve().parent.parent / "tools" / "make_checkpoint"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(CHECKPOINT, tmp_path_factory.mktemp("files") / "model.pte")


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, folder)
    return folder


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A checkpoint that takes a moment to export: 60 MB."""
    folder = tmp_path_factory.mktemp("larger") / "checkpoint"
    subprocess.run([MAKE, "--family", "sdar", "--size", "tiny", "--layers", "4", "--hidden", "768", "--intermediate",
                    "2304", "--heads", "6", "--kv-heads", "3", "--head-dim", "128", "--vocab", "8000", "--positions",
                    "512", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def slow(larger, tmp_path_factory):
    """A model that takes long with --cpu ref."""
    return export(larger, tmp_path_factory.mktemp("slow") / "model.pte", "none", "--max-seq-len", "512")


def kind(path):
    return stat.S_IFMT(os.lstat(path).st_mode)


# ---- outputs ---------------------------------------------------------------------------------------------------------

def refuse(path, *words, checkpoint=CHECKPOINT):
    before = kind(path)
    message = fail("export", "--hf-model-path", checkpoint, "--output-path", path)
    assert kind(path) == before
    assert all(word in message for word in (str(path), *words)), message


def test_what_is_no_file_is_not_replaced(tmp_path, model):
    os.mkfifo(tmp_path / "fifo")
    refuse(tmp_path / "fifo", "it is a FIFO")
    (tmp_path / "link").symlink_to("fifo")
    refuse(tmp_path / "link", "it is a FIFO")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "socket"))
        refuse(tmp_path / "socket", "it is a socket")
    refuse(tmp_path, "it is a folder")
    for command in (("logits", model, "--token-ids", "1,2"), ("run", model, "--input", tmp_path / "missing")):
        assert "it is a FIFO" in fail(*command, "--output", tmp_path / "fifo")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        refuse(tmp_path / "null", "it is a device")


def test_what_is_read_is_not_replaced(checkpoint, model, tmp_path):
    weights = (checkpoint / "model.safetensors").read_bytes()
    os.link(checkpoint / "model.safetensors", tmp_path / "hard")
    (tmp_path / "link").symlink_to(checkpoint / "config.json")
    for path in (checkpoint / "model.safetensors", checkpoint / "config.json", checkpoint / "tokenizer.json",
                 tmp_path / "hard", tmp_path / "link"):
        refuse(path, "which is read", checkpoint=checkpoint)
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    for _ in range(2):
        export(checkpoint, checkpoint / "model.pte")  # one that was exported there before
    own = checkpoint / "model.pte"
    bytes_of_own = own.read_bytes()
    os.link(own, tmp_path / "own")
    assert "which is read" in fail("logits", own, "--token-ids", "1", "--output", tmp_path / "own")
    assert "which is read" in fail("run", own, "--input", tmp_path / "hard", "--output", own)
    assert "which is read" in fail("run", own, "--input", tmp_path / "hard", "--output", tmp_path / "hard")
    assert own.read_bytes() == bytes_of_own


def test_what_an_export_reads_besides_is_not_replaced(checkpoint, tmp_path):
    """Recipes, calibration data and ranges, and by outputs other than the program."""
    texts = {"recipe.json": '{"head": "none"}', "chats.jsonl": '{"ids": [1, 2, 3, 4, 5, 6]}\n'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    recipe, data, config = tmp_path / "recipe.json", tmp_path / "chats.jsonl", checkpoint / "config.json"
    static = ("export", checkpoint, tmp_path / "out.pte", "--quantization", "int8-static", "--calibration", data)
    before = config.read_bytes()
    for command in (("export", checkpoint, recipe, "--quantization-config", recipe),
                    ("export", checkpoint, data, "--quantization", "int4", "--rounding", "gptq", "--calibration", data),
                    (*static, "--save-ranges", config), (*static, "--save-ranges", data),
                    ("quantize-report", checkpoint, "--size", "1M", "--output", config),
                    ("quantize-report", checkpoint, "--size", "1M", "--calibration", data, "--output", data)):
        assert "which is read" in fail(*command), command
    (tmp_path / "dangling").symlink_to("out.pte")
    (tmp_path / "sub").mkdir()
    for other in ("out.pte", "./out.pte", "sub/../out.pte", "dangling", "out.pte.work", "out.pte.work.ranges"):
        assert "cannot be both" in fail(*static, "--save-ranges", f"{tmp_path}/{other}"), other
    for folder in ("out.pte", "sub/../out.pte"):
        assert "cannot be both the program and the work folder" in fail(*static, "--work-folder", f"{tmp_path}/{folder}")
    inside = ("export", checkpoint, tmp_path / "sub" / "out.pte", *static[3:], "--work-folder", tmp_path / "sub")
    assert "lies in the work folder" in fail(*inside)
    mix = ("quantize-report", checkpoint, "--size", "1M", "--output")
    assert "cannot be both" in fail(*mix, tmp_path / "mix", "--work-folder", f"{tmp_path}/sub/../mix")
    assert "lies in the work folder" in fail(*mix, tmp_path / "sub" / "mix", "--work-folder", tmp_path / "sub")
    assert config.read_bytes() == before and all((tmp_path / name).read_text() == text for name, text in texts.items())
    assert not (tmp_path / "out.pte").exists()


def test_links_permissions_and_long_names(tmp_path):
    (tmp_path / "real").write_text("old")
    os.chmod(tmp_path / "real", 0o604)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    long = tmp_path / ("b" * 251 + ".pte")
    for path in (tmp_path / "link", tmp_path / "dangling", long):
        export(CHECKPOINT, path)
        run("inspect", path)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o604
    mask = os.umask(0o027)
    try:
        export(CHECKPOINT, tmp_path / "fresh")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == sorted(["real", "link", "dangling", "new", "fresh", long.name])


def test_a_limit_on_file_sizes(tmp_path):
    path = tmp_path / "m.pte"
    path.write_text("old")
    message = fail("export", "--hf-model-path", CHECKPOINT, "--output-path", path, "--quantization", "none",
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert "File too large" in message and str(path) in message
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["m.pte"]


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL))
def test_a_killed_export_leaves_nothing(larger, tmp_path, number):
    path = tmp_path / "m.pte"
    for delay in (0.01, 0.04, 0.08):
        process = subprocess.Popen([CLI, "export", "--hf-model-path", str(larger), "--output-path", str(path),
                                    "--quantization", "int8-dynamic"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        process.send_signal(number)
        process.communicate(timeout=60)
        # The system itself ends a program that has not begun: 10 ms may not suffice to load it.
        assert process.returncode in (0, -number, 128 + number)
        if path.exists():
            run("inspect", path)
            path.unlink()
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
def test_a_signal_behind_the_export_changes_nothing(tmp_path, number):
    """The file is in place and its summary waits for a reader: the command has succeeded."""
    path = tmp_path / "m.pte"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    process = subprocess.Popen([CLI, "export", str(CHECKPOINT), str(path)], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    for _ in range(1000):
        if path.exists():
            break
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    time.sleep(0.1)
    with open(reader, "rb") as f:
        printed = f.read()
    assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")
    assert str(path).encode() in printed[filled:]
    run("inspect", path)


def test_a_job_whose_interrupts_are_ignored_keeps_ignoring_them(slow):
    process = subprocess.Popen([CLI, "generate", slow, "--token-ids", "1,2,3", "--max-new-tokens", "8", "--stop-ids",
                                "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    for _ in range(5):
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0


# ---- targets that cannot be replaced ---------------------------------------------------------------------------------

def refused_before_any_work(path, **how):
    """The sentence of an export to `path` that fails before it reads the checkpoint, which is damaged."""
    done = subprocess.run([CLI, "export", "/nonexistent/checkpoint", str(path)], capture_output=True, text=True,
                          timeout=60, **how)
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, and become somebody else")
def test_targets_that_no_rename_replaces(tmp_path):
    path, other = tmp_path / "m.pte", tmp_path / "other.pte"
    path.write_text("old")
    other.write_text("older")
    script = f"mount --bind '{other}' '{path}' && exec '{CLI}' export /nonexistent/checkpoint '{path}'"
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=60)
    if "mount" in done.stderr and "mount point" not in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert f"cannot replace '{path}': it is a mount point" in done.stderr and done.returncode == 1
    assert "cannot replace" not in refused_before_any_work(path)  # without the mount

    # A folder like /tmp: a file of somebody else, that everybody may write.
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o1777)
        foreign = folder / "m.pte"
        foreign.write_text("old")
        foreign.chmod(0o666)
        message = refused_before_any_work(foreign, user=65534, group=65534)
        assert f"cannot replace '{foreign}': its folder lets nobody but its owner do that" in message
        assert foreign.read_text() == "old" and os.listdir(folder) == ["m.pte"]
        assert "cannot replace" not in refused_before_any_work(folder / "new.pte", user=65534, group=65534)
    finally:
        shutil.rmtree(folder)


# ---- files that change -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("overwrite", (False, True))
def test_a_checkpoint_that_changes_while_it_is_exported(larger, tmp_path, overwrite):
    weights = tmp_path / "checkpoint" / "model.safetensors"
    shutil.copytree(larger, tmp_path / "checkpoint")
    good = weights.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    for delay in (0.02, 0.05, 0.1):
        weights.write_bytes(good)
        process = subprocess.Popen([CLI, "export", "--hf-model-path", str(tmp_path / "checkpoint"), "--output-path",
                                    str(out / "m.pte"), "--quantization", "int8-dynamic"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        if overwrite:
            with open(weights, "r+b") as f:
                f.seek(len(good) // 2)
                f.write(bytes(1 << 20))
        else:
            os.truncate(weights, 1000000)
        error = without_note(process.communicate(timeout=60)[1])
        assert process.returncode in (0, 1), "no signal"
        if process.returncode == 1:
            assert error.startswith("diffulex-edge: ") and "model.safetensors" in error and error.count("\n") == 1
            assert os.listdir(out) == []
        else:
            (out / "m.pte").unlink()


def test_a_model_that_is_overwritten_while_a_chat_has_it_open(model, tmp_path):
    """The answers are those that it gives undisturbed."""
    path = tmp_path / "m.pte"
    shutil.copy(model, path)
    lines = ["hello there", "and again"]
    settings = ("--max-new-tokens", "8")
    undisturbed = run("chat", model, *settings, input="".join(f"{l}\n" for l in lines), stdin=None)
    process = subprocess.Popen([CLI, "chat", str(path), *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdin.write(lines[0] + "\n")
    process.stdin.flush()
    first = process.stdout.readline()
    with open(path, "r+b") as f:
        f.write(bytes(4096))
        f.truncate(4096)
    out, error = process.communicate(lines[1] + "\n", timeout=60)
    assert (process.returncode, error, first + out) == (0, "", undisturbed)


# ---- inputs that are no files ----------------------------------------------------------------------------------------

def test_a_conversation_from_a_folder(model, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert fail("chat", model, stdin=folder) == "cannot read the standard input: Is a directory"
    finally:
        os.close(folder)


def test_a_template_from_a_pipe(tmp_path):
    """It is read once, however often the export needs the tokenizer."""
    path, samples = tmp_path / "m.pte", tmp_path / "samples.jsonl"
    samples.write_text('{"prompt": "What is 3 + 4?", "answer": "7"}\n' * 4)
    script = (f"exec '{CLI}' export '{CHECKPOINT}' '{path}' --quantization int8-dynamic --rounding gptq "
              f"--calibration '{samples}' --chat-template <(printf 'say {{{{ messages[0].content }}}}')")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert run("tokenize", path, "say hi") == run("tokenize", path, "--chat", "hi")
    assert "has no template of this name" in fail("export", CHECKPOINT, path, "--chat-template", tmp_path)


def test_a_fifo_does_not_block(tmp_path, checkpoint, model):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for command in (("generate", fifo, "--prompt", "x"), ("inspect", fifo), ("chat", fifo), ("tokenize", fifo, "x"),
                    ("logits", fifo, "--token-ids", "1", "--output", tmp_path / "o")):
        assert "is not a regular file" in fail(*command)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        os.rename(checkpoint / name, tmp_path / name)
        os.mkfifo(checkpoint / name)
        message = fail("export", "--hf-model-path", checkpoint, "--output-path", tmp_path / "m.pte")
        assert name in message and "is not a regular file" in message
        os.unlink(checkpoint / name)
        os.rename(tmp_path / name, checkpoint / name)
    fail("export", "--hf-model-path", fifo, "--output-path", tmp_path / "m.pte")
    for name in ("chat_template.jinja", "additional_chat_templates/tool_use.jinja"):
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).unlink(missing_ok=True)
        os.mkfifo(checkpoint / name)
        for command in (("export", checkpoint, tmp_path / "m.pte"), ("tokenize", checkpoint, "x", "--chat")):
            message = fail(*command)
            assert name in message and "is not a regular file" in message
        os.unlink(checkpoint / name)
    # Whoever names a pipe is waited for, but not for ever.
    message = fail("export", checkpoint, tmp_path / "m.pte", "--chat-template", fifo)
    assert f"nothing came from '{fifo}' for 10 seconds" in message
    writer = threading.Thread(target=fifo.write_text, args=("say {{ messages[0].content }}",))
    writer.start()
    run("export", checkpoint, tmp_path / "m.pte", "--chat-template", fifo)
    writer.join()
    assert run("tokenize", tmp_path / "m.pte", "say hi") == run("tokenize", tmp_path / "m.pte", "--chat", "hi")


def test_text_may_come_through_a_pipe(model):
    """As bash makes one of <(printf ...)."""
    for command in (("generate", model, "--max-new-tokens", "4", "--prompt-file"), ("eval", model)):
        text = json.dumps({"prompt": "hi", "answer": "x"}) + "\n" if command[0] == "eval" else "hi\n"
        reader, writer = os.pipe()
        os.write(writer, text.encode())
        os.close(writer)
        run(*command, f"/dev/fd/{reader}", pass_fds=(reader,))
        os.close(reader)


def test_a_pipe_that_nobody_writes_to_is_given_up(model, tmp_path):
    """All at once, because each waits ten seconds."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = [subprocess.Popen([CLI, *map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
               for command in (("generate", model, "--prompt-file", fifo), ("eval", model, fifo), ("sudoku", model, fifo),
                               ("tokenize", model, "a", "--chat", "--chat-template", fifo))]
    for process in running:
        _, message = process.communicate(timeout=60)
        assert process.returncode == 1 and f"nothing came from '{fifo}' for 10 seconds" in message


@pytest.mark.parametrize("encoding", ("utf-16-le", "utf-16-be"))
def test_text_in_utf_16_is_refused(model, checkpoint, tmp_path, encoding):
    path = tmp_path / "wide"
    path.write_bytes("\ufeffhi {{ messages[0].content }} <|mask|>\n".encode(encoding))
    for command in (("generate", model, "--prompt-file", path), ("eval", model, path), ("sudoku", model, path),
                    ("generate", model, "a", "--chat-template", path), ("tokenize", model, "a", "--chat", "--chat-template", path),
                    ("chat", model, "--chat-template", path), ("export", checkpoint, tmp_path / "m.pte", "--chat-template", path)):
        assert fail(*command) == f"'{path}' is text in UTF-16; UTF-8 is expected", command
    for command in (("generate", model, "-"), ("tokenize", model, "-"), ("detokenize", model, "-"), ("infill", model, "-"),
                    ("eval", model, "-"), ("chat", model)):
        with open(path) as text:
            assert fail(*command, stdin=text) == "'standard input' is text in UTF-16; UTF-8 is expected", command
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        kept = (checkpoint / name).read_bytes() if (checkpoint / name).exists() else None
        (checkpoint / name).write_bytes(path.read_bytes())
        assert f"{name}' is text in UTF-16" in fail("export", checkpoint, tmp_path / "m.pte"), name
        (checkpoint / name).unlink() if kept is None else (checkpoint / name).write_bytes(kept)


@pytest.mark.parametrize("template", ("", " \n", "{# nothing #}\n"))
def test_a_template_that_prints_nothing(checkpoint, tmp_path, template):
    """It is noticed by the export, and a prompt that comes to nothing names it."""
    (checkpoint / "chat_template.jinja").write_text(template)
    done = start("export", checkpoint, tmp_path / "m.pte")
    assert done.returncode == 0 and f"the chat template of '{checkpoint}' prints nothing" in done.stderr
    for command in (("generate", tmp_path / "m.pte", "hi"), ("tokenize", tmp_path / "m.pte", "hi", "--chat")):
        assert "the chat template made no text of this conversation; give another one" in fail(*command)
    run("generate", tmp_path / "m.pte", "hi", "--no-chat", "--max-new-tokens", "2")
    assert start("export", checkpoint, tmp_path / "n.pte", "--chat-template", "none").stderr == ""


@pytest.mark.parametrize("text", ("hi\n", "hi\r\n", "\ufeffhi", "\ufeffhi\n", "hi"))
def test_line_breaks_and_marks_around_a_prompt_are_not_part_of_it(model, tmp_path, text):
    (tmp_path / "p").write_text(text, encoding="utf-8", newline="")
    few = ("--max-new-tokens", "1")
    ids = run_json("generate", model, "--prompt", "hi", *few)["prompt_ids"]
    assert run_json("generate", model, "--prompt-file", tmp_path / "p", *few)["prompt_ids"] == ids
    with open(tmp_path / "p") as f:
        assert run_json("generate", model, "-", *few, stdin=f)["prompt_ids"] == ids
    assert run("tokenize", model, "-", input=text, stdin=None) == run("tokenize", model, "hi")
    masked = [json.loads(start("infill", model, what, "--json", input=text.replace("hi", "hi <|mask|>"),
                               stdin=None).stdout)["prompt_ids"] for what in ("-", "hi <|mask|>")]
    assert masked[0] == masked[1]
    assert run("chat", model, *few, input=text, stdin=None) == run("chat", model, *few, input="hi\n", stdin=None)


def test_only_one_line_break_goes(model, tmp_path):
    (tmp_path / "p").write_text("hi\n\n")
    few = ("--max-new-tokens", "1")
    ids = run_json("generate", model, "--prompt", "hi\n", *few)["prompt_ids"]
    assert run_json("generate", model, "--prompt-file", tmp_path / "p", *few)["prompt_ids"] == ids


# ---- outputs that take no more ---------------------------------------------------------------------------------------

def commands(model, tmp_path):
    questions = tmp_path / "questions"
    questions.write_text(json.dumps({"prompt": "hi", "answer": "x"}) + "\n")
    return (("generate", model, "--prompt", "hi"), ("generate", model, "--prompt", "hi", "--json"),
            ("generate", model, "--prompt", "hi", "--steps-json"), ("inspect", model), ("tokenize", model, "hi"),
            ("eval", model, questions), ("chat", model), ("--help",), ("--version",),
            ("export", "--hf-model-path", CHECKPOINT, "--output-path", tmp_path / "m.pte"))


def test_a_full_or_closed_output_is_named(model, tmp_path):
    for command in commands(model, tmp_path):
        for where, reason in (("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")):
            done = subprocess.run(["bash", "-c", f'exec "$@" >{where}', "bash", CLI, *map(str, command)], input="hi\n",
                                  stderr=subprocess.PIPE, text=True, timeout=60)
            assert done.returncode == 1, (command, where, done.stderr)
            assert done.stderr == f"diffulex-edge: cannot write to the standard output: {reason}\n", (command, where)


def test_a_reader_that_leaves_ends_the_program_quietly(model):
    command = ' | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}'
    shell = f'"{CLI}" generate "{model}" --token-ids 5,6,7 --steps-json --max-new-tokens 60' + command
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 141) and done.stderr == ""
    # Where a parent has SIGPIPE ignored, the reason is named.
    shell = f'trap "" PIPE; ("{CLI}" inspect "{model}"; echo $? >&2) | true'
    done = subprocess.run(["bash", "-c", f"sleep 0.2; {shell}"], capture_output=True, text=True, timeout=60)
    assert done.stderr in ("0\n", "diffulex-edge: cannot write to the standard output: Broken pipe\n1\n")


# ---- signals ---------------------------------------------------------------------------------------------------------

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupted(number, *command, ready, stdin=subprocess.DEVNULL):
    """(exit status, output, standard error) of a run that got the signal when `ready` says so."""
    process = subprocess.Popen([CLI, *map(str, command)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    first = ready(process) or ""
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    return process.returncode, first + out, error


def works(process):
    """Waits until the process has computed for longer than loading a tiny model takes."""
    for _ in range(1000):
        with open(f"/proc/{process.pid}/stat") as f:
            used = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
        if used > 0.3:
            return
        time.sleep(0.02)


def caught_signals(process):
    """The numbers that a running program has a handler for."""
    with open(f"/proc/{process.pid}/status") as f:
        mask = next(int(line.split()[1], 16) for line in f if line.startswith("SigCgt:"))
    return {number for number in SIGNALS if mask >> (number - 1) & 1}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_decode_that_is_interrupted(slow, number):
    """It prints what is known, and the exit status tells the signal all the same."""
    status, out, error = interrupted(number, "generate", slow, "--token-ids", "1,2,3", "--max-new-tokens", "400",
                                     "--steps-json", "--stop-ids", "none", "--cpu", "ref", "--threads", "1",
                                     ready=lambda p: p.stdout.readline())
    assert (status, error) == (128 + number, "")
    assert json.loads(out.splitlines()[-1])["finish_reason"] == "cancelled"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_waits_for_its_input(model, number):
    def ready(process):
        while number not in caught_signals(process):
            time.sleep(0.01)
        time.sleep(0.1)
    status, out, error = interrupted(number, "tokenize", model, "-", ready=ready, stdin=subprocess.PIPE)
    assert (status, out, error) == (128 + number, "", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_chat_that_waits(model, number):
    def ready(process):
        process.stdin.write("hello\n")
        process.stdin.flush()
        return process.stdout.readline()
    status, out, error = interrupted(number, "chat", model, "--max-new-tokens", "4", ready=ready, stdin=subprocess.PIPE)
    assert (status, error) == (128 + number, "")


@pytest.mark.parametrize("number", SIGNALS)
def test_an_eval_that_is_interrupted_says_so(model, tmp_path, number):
    questions = tmp_path / "questions"
    questions.write_text((json.dumps({"prompt": "hi", "answer": "x"}) + "\n") * 3000)
    for more in ((), ("--json",)):
        status, out, error = interrupted(number, "eval", model, questions, *more, "--max-new-tokens", "40", "--cpu",
                                         "ref", ready=works)
        assert (status, error) == (128 + number, "")
        if more:
            report = json.loads(out)
            assert report["interrupted"] and report["questions"] < 3000
        else:
            assert out.startswith("interrupted      after ") and out.splitlines()[0].endswith(" of 3000 questions")
    questions.write_text(json.dumps({"prompt": "hi", "answer": "x"}) + "\n")
    assert run_json("eval", model, questions)["interrupted"] is False


def test_a_hangup_ends_a_chat_on_a_terminal(model):
    terminal = Terminal("chat", model)
    terminal.wait_for("/help lists the commands")
    os.kill(terminal.pid, signal.SIGHUP)
    status = os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1])
    os.close(terminal.fd)
    assert status == 129


def test_nohup_is_respected(model, tmp_path):
    process = subprocess.Popen([CLI, "generate", model, "--prompt", "hi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    for _ in range(20):
        process.send_signal(signal.SIGHUP) if process.poll() is None else None
        time.sleep(0.005)
    process.communicate(timeout=60)
    assert process.returncode == 0


# ---- memory ----------------------------------------------------------------------------------------------------------

def test_the_peak_is_that_of_this_process(tmp_path):
    """What getrusage counts survives exec."""
    child = ("import subprocess, sys; x = bytearray(300 << 20); x[::4096] = b'1' * len(x[::4096]);"
             "subprocess.run(sys.argv[1:], check=True)")
    out = subprocess.run([sys.executable, "-c", child, CLI, "export", "--hf-model-path", str(CHECKPOINT),
                          "--output-path", str(tmp_path / "m.pte"), "--json"], capture_output=True, text=True, check=True)
    assert 1 << 20 < json.loads(out.stdout)["peak_memory_bytes"] < 64 << 20


@pytest.mark.parametrize("command", (("export", CHECKPOINT), ("logits", "MODEL", "--token-ids", "1", "--output"),
                                     ("run", "MODEL", "--input", "none", "--output"),
                                     ("quantize-report", CHECKPOINT, "--size", "1M", "--output")), ids=lambda c: c[0])
def test_a_file_is_not_what_the_command_prints_to(tmp_path, model, command):
    command = [str(model) if part == "MODEL" else str(part) for part in command]
    assert "name one" in fail(*command, "-", status=2, cwd=tmp_path)
    assert not list(tmp_path.iterdir())
    for name, stream in (("/dev/stdout", "stdout"), ("out", "stdout"), ("out", "stderr")):
        with open(tmp_path / "out", "w") as out, open(tmp_path / "other", "w") as other:
            streams = {"stdout": other, "stderr": other, stream: out}
            assert subprocess.run([CLI, *command, name], cwd=tmp_path, **streams).returncode == 2
        assert f"{'output' if stream == 'stdout' else 'error'} goes" in "".join(p.read_text() for p in tmp_path.iterdir())
        assert {p.name for p in tmp_path.iterdir()} == {"out", "other"}
