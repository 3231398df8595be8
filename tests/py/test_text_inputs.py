"""Texts that export, its validation and quantize-report read: byte-order marks, line ends of other systems, pipes and the
standard input change nothing; what is no such text is one sentence, and nothing is written."""
import json
import os
import subprocess
from pathlib import Path

import pytest
from program import CLI, fail, run, start

CHECKPOINT = Path(__file__).resolve().parent.parent / "data" / "checkpoints" / "llada-tiny"
LINES = "".join(json.dumps({"prompt": f"What is {n} and {n}?", "answer": f"It is {2 * n}, as everybody knows."}) + "\n"
                for n in range(6))
RECIPE = '{"default": "int4-g32",\n "tensors": [{"pattern": "layers.0.*", "scheme": "int8-dynamic"}]}\n'
FEW = ("--calibration-samples", 3, "--calibration-length", 24)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The text of each option, and what else the export needs to read it."""
    folder = tmp_path_factory.mktemp("texts")
    ranges = folder / "ranges.json"
    run("export", CHECKPOINT, folder / "m.pte", "--quantization", "int8-static", *FEW, "--rounding", "nearest", "--save-ranges", ranges)
    return {
        "--calibration": (LINES, ("--quantization", "int4", "--rounding", "gptq", *FEW)),
        "--quantization-config": (RECIPE, ()),
        "--ranges": (ranges.read_text(), ("--quantization", "int8-static")),
        "--chat-template": ("say {{ messages[0].content }}\nnow", ()),
    }


OPTIONS = ("--calibration", "--quantization-config", "--ranges", "--chat-template")


def marked(text):
    """As an editor on Windows keeps it."""
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def through_pipe(*arguments, text, option):
    """The option's text comes as bash makes it of <(...)."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(text)
    done = start(*arguments, option, f"/dev/fd/{reader}", pass_fds=(reader,))
    os.close(reader)
    return done


@pytest.mark.parametrize("option", OPTIONS)
def test_marks_and_pipes_change_nothing(option, texts, tmp_path):
    text, others = texts[option]
    path, plain, out = tmp_path / "text", tmp_path / "plain.pte", tmp_path / "m.pte"
    path.write_text(text)
    run("export", CHECKPOINT, plain, *others, option, path)
    path.write_bytes(marked(text))
    run("export", CHECKPOINT, out, *others, option, path)
    assert out.read_bytes() == plain.read_bytes()
    out.unlink()
    done = through_pipe("export", CHECKPOINT, out, *others, text=marked(text), option=option)
    assert (done.returncode, done.stderr) == (0, "") and out.read_bytes() == plain.read_bytes()
    for given in ({"input": marked(text).decode(), "stdin": None}, {"stdin": path.open("rb")}):
        out.unlink()
        run("export", CHECKPOINT, out, *others, option, "-", **given)
        assert out.read_bytes() == plain.read_bytes()


def test_calibration_that_is_validated_with_is_read_once(tmp_path):
    """--validation is --calibration where nothing else is said, and that may be a pipe."""
    lines, options = tmp_path / "lines.jsonl", ("--quantization", "int4", "--rounding", "gptq", *FEW, "--validate", "--json")
    lines.write_text(LINES)
    want = json.loads(run("export", CHECKPOINT, tmp_path / "a.pte", *options, "--calibration", lines))
    done = through_pipe("export", CHECKPOINT, tmp_path / "m.pte", *options, text=LINES.encode(), option="--calibration")
    assert done.returncode == 0 and json.loads(done.stdout)["validation"] == want["validation"]
    assert (tmp_path / "m.pte").read_bytes() == (tmp_path / "a.pte").read_bytes()


def test_other_readers_of_lines(tmp_path):
    lines, path = tmp_path / "lines.jsonl", tmp_path / "m.pte"
    lines.write_text(LINES)
    run("export", CHECKPOINT, path)
    for arguments, option in ((("export", CHECKPOINT, path, "--validate-only"), "--validation"),
                              (("quantize-report", CHECKPOINT, *FEW), "--calibration")):
        want = run(*arguments, option, lines)
        done = through_pipe(*arguments, text=marked(LINES), option=option)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", want)
        assert run(*arguments, option, "-", input=marked(LINES).decode(), stdin=None) == want


def test_the_standard_input_is_read_once(tmp_path):
    message = start("export", CHECKPOINT, tmp_path / "m.pte", "--validate", "--calibration", "-", "--validation", "/dev/stdin")
    assert message.returncode == 2 and "--calibration and --validation are both the standard input" in message.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_no_text(option, texts, tmp_path):
    _, others = texts[option]
    folder = tmp_path / "out"
    folder.mkdir()
    empty, wide, closed, out = tmp_path / "empty", tmp_path / "wide", tmp_path / "closed", folder / "m.pte"
    empty.touch()
    wide.write_text("{}\n", encoding="utf-16")
    closed.write_text("{}\n")
    closed.chmod(0)
    out.write_bytes(b"an older file")
    pointer = tmp_path / "pointer"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    sentences = {pointer: "is a git-lfs pointer", wide: "is text in UTF-16; UTF-8 is expected", tmp_path: "a directory",
                 tmp_path / "none": "none"}
    if option != "--chat-template":     # where an empty one is a template
        sentences[empty] = str(empty)
    if os.geteuid():
        sentences[closed] = "Permission denied"
    for path, sentence in sentences.items():
        message = fail("export", CHECKPOINT, out, *others, option, path)
        assert str(path) in message and (sentence in message or option == "--chat-template"), message
        assert os.listdir(folder) == ["m.pte"] and out.read_bytes() == b"an older file"


def test_a_pipe_that_nobody_writes_to(texts, tmp_path):
    """All options at once, because each waits ten seconds."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    commands = [("export", CHECKPOINT, tmp_path / f"{option}.pte", *texts[option][1], option, fifo)
                for option in ("--calibration", "--quantization-config", "--ranges")]
    commands.append(("export", CHECKPOINT, tmp_path / "v.pte", "--validate", "--validation", fifo))
    running = [subprocess.Popen([CLI, *map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
               for command in commands]
    for process in running:
        _, message = process.communicate(timeout=60)
        assert process.returncode == 1 and f"nothing came from '{fifo}' for 10 seconds" in message
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_long_line(tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({"text": "word " * 100_000}) + "\n" + LINES)
    run("export", CHECKPOINT, tmp_path / "m.pte", "--validate", "--validation", lines, "--validation-samples", 2)
