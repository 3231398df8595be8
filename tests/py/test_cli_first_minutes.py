"""What somebody meets who uses the program for the first time: the shortest command lines, what --help begins with, the
line on the terminal while something loads or decodes, the view, and mistakes that are told before a model is loaded."""
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import fcntl
import pytest

from program import CLI, DATA, DEMO, ROOT, export, fail, on_terminal, run, run_json, start

DIALOG = ROOT / "demo" / "dialog-sdar"
CHECKPOINT = DATA / "checkpoints" / "sdar-tiny"
PUZZLE = "Solve\n2...6.\n5.6...\n....36\n.....4\n.2.45.\n3.....\n"


@pytest.fixture(scope="module")
def dialog(tmp_path_factory):
    return export(DIALOG, tmp_path_factory.mktemp("first") / "dialog.pte", "int8-dynamic")


@pytest.fixture(scope="module")
def sudoku(tmp_path_factory):
    return export(DEMO, tmp_path_factory.mktemp("first") / "sudoku.pte")


def screen_text(screen):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", screen)


# ---- export ----------------------------------------------------------------------------------------------------------

def test_the_default_is_int8_and_said(tmp_path):
    text = run("export", CHECKPOINT, tmp_path / "a.pte")
    line = "quantization: int8-dynamic, the default; --quantization none keeps the weights in float32\n"
    assert text.startswith(line)
    assert line not in run("export", CHECKPOINT, tmp_path / "b.pte", "--quantization", "int8")
    assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()
    assert run_json("inspect", tmp_path / "a.pte")["metadata"]["get_quantization"] == ["int8-dynamic"]


def test_the_default_scheme_in_json(tmp_path):
    out = run_json("export", CHECKPOINT, tmp_path / "a.pte")
    assert out["quantization"] == "int8-dynamic" and out["quantised_tensors"] > 0 and out["backend"] == "xnnpack"
    out = run_json("export", CHECKPOINT, tmp_path / "a.pte", "--quantization", "none")
    assert out["quantization"] == "none" and out["quantised_tensors"] == 0


@pytest.mark.parametrize("arguments", [("D", "F"), ("--output-path", "F", "D"), ("--hf-model-path", "D", "F"),
                                       ("--hf-model-path", "D", "--output-path", "F")])
def test_both_paths_of_export_are_arguments_or_options(tmp_path, arguments):
    places = {"D": CHECKPOINT, "F": tmp_path / "m.pte"}
    assert run_json("export", *(places.get(a, a) for a in arguments))["output_path"] == str(tmp_path / "m.pte")


def test_the_library_has_the_same_default(tmp_path):
    import diffulex_edge
    diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "a.pte")
    diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "b.pte", quantization="none")
    assert [run_json("inspect", tmp_path / f)["metadata"]["get_quantization"] for f in ("a.pte", "b.pte")] == \
        [["int8-dynamic"], ["none"]]


# ---- one way to give a model and a prompt ----------------------------------------------------------------------------

def test_a_prompt_is_an_argument(dialog):
    expected = run("generate", dialog, "--prompt", "What is 347 + 285?")
    assert run("generate", dialog, "What is 347 + 285?") == expected == "632\n"
    assert run("generate", "--pte-path", dialog, "What is 347 + 285?") == expected
    assert run("generate", "What is 347 + 285?", "--pte-path", dialog, "--no-stream") == expected
    assert run("generate", dialog, "-", stdin=None, input="What is 347 + 285?\n") == expected


def test_every_command_takes_the_file_both_ways(dialog, tmp_path):
    questions, folder = tmp_path / "q", tmp_path / "out"
    questions.write_text(json.dumps({"messages": [{"role": "user", "content": "Hello"}], "answer": "x"}) + "\n")
    folder.mkdir()
    rest = {"inspect": [], "generate": ["Hello"], "infill": ["a <|mask|>"], "tokenize": ["Hello"], "detokenize": ["5,6"],
            "logits": ["--token-ids", "5", "--output", folder / "l"], "chat": [], "eval": [questions],
            "run": ["--method", "get_vocab_size"]}
    for command, more in rest.items():
        one, other = start(command, dialog, *more), start(command, "--pte-path", dialog, *more)
        assert one.returncode == other.returncode == 0, (command, one.stderr, other.stderr)
        assert re.sub(r"[\d.]+", "", one.stdout) == re.sub(r"[\d.]+", "", other.stdout), command
        assert re.match(rf"usage: diffulex-edge {command} \[options\] FILE", run(command, "--help"))
        assert "--pte-path FILE" in run(command, "--help")


# ---- help ------------------------------------------------------------------------------------------------------------

def test_help_begins_with_what_a_newcomer_needs():
    text = run("generate", "--help")
    head, below = text.split("\noptions\n")
    assert re.findall(r"^  --(\S+)", head, re.M) == ["prompt", "max-new-tokens", "temperature", "preset", "visual"]
    assert len(re.findall(r"^  diffulex-edge generate model\.pte ", head, re.M)) == 2
    assert len(text[:text.index("\noptions\n")].splitlines()) <= 24, "it fits one screen"
    for name in ("prompt", "max-new-tokens", "temperature", "preset", "visual"):
        assert len(re.findall(rf"^  --{name} *( |$)", text, re.M)) == 1, name
    assert "--token-ids" in below and "--top-k" in below


def test_words_of_options_are_in_the_help():
    text = " ".join(run("generate", "--help").split())
    for words in ("one of exact, balanced, fast", "one of low_confidence, random", "one of none, prefix, dual",
                  "one of sequential, low_confidence_static, low_confidence_dynamic, entropy_bounded",
                  "float32 (default; exact), float16 (half the memory) or int8 (about a quarter)"):
        assert words in text, words


def test_help_behind_a_long_name():
    """A name that leaves no room for what it means has it in the next line, at the same place."""
    lines = run("infill", "--help").splitlines()
    i = lines.index("  --confidence-eos-eot-inf    reveal end ids last (default false)")
    assert lines[i + 1] == " " * 30 + "[llada.generate, llada.generate_fast]"
    lines = run("generate", "--help", env={"COLUMNS": "40"}).splitlines()
    i = lines.index("  --max-new-tokens N")
    assert lines[i + 1] == "      length of the answer, 0 to fill"
    assert not [line for line in lines if re.match("  --\\S+ .* [a-z]+ [a-z]+ ", line)], "no name has it beside it"


def test_help_is_as_wide_as_the_terminal():
    for columns in (40, 60, 80, 100):
        lines = run("chat", "--help", env={"COLUMNS": str(columns)}).splitlines()
        assert max(map(len, lines)) <= columns
        assert max(map(len, lines)) > columns - 16, "and uses it"


# ---- the line on the terminal ----------------------------------------------------------------------------------------

def test_loading_and_decoding_are_shown(sudoku):
    status, screen = on_terminal("generate", sudoku, PUZZLE, "--max-new-tokens", 14, "--cpu", "ref", "--threads", "1",
                                 "--no-stream", "--algorithm", "llada.generate", "--block-length", "14")
    assert status == 0
    assert re.search(r"loading sudoku\.pte \([\d.]+ MB\)", screen)
    known = [tuple(map(int, m)) for m in re.findall(r"pass (\d+), (\d+) of 14 tokens known, [\d.]+ s, at most \d+ s left", screen)]
    assert known and known == sorted(known) and all(a == b for a, b in known), "one token a pass"
    assert screen_text(screen.rpartition("\r\x1b[K")[2]).count("\n") == 3, "it is wiped out before the answer"


@pytest.mark.parametrize("command,more", [
    ("infill", ["a <|mask|><|mask|>"]), ("logits", ["--token-ids", "5,6", "--output", "OUT"]), ("eval", ["Q"]),
    ("generate", ["Hello", "--json"]), ("run", ["--method", "get_vocab_size"])])
def test_every_command_shows_what_it_does(dialog, tmp_path, command, more):
    (tmp_path / "q").write_text(json.dumps({"prompt": "hi", "answer": "x"}) + "\n")
    places = {"OUT": tmp_path / "out", "Q": tmp_path / "q"}
    more = [places.get(a, a) for a in more]
    status, screen = on_terminal(command, dialog, *more)
    assert status == 0 and "loading dialog.pte (2.5 MB)" in screen
    working = {"logits": "one pass over 2 tokens", "run": "call 1 of 1", "eval": "question 1 of 1: "}
    assert re.search(working.get(command, "reading the prompt of [0-9]+ tokens"), screen) or command == "eval"
    done = start(command, dialog, *more)
    assert done.returncode == 0 and not re.search("loading|reading|pass |call ", done.stderr), "nothing in a pipe"


def test_text_is_not_written_over(dialog, sudoku):
    status, screen = on_terminal("generate", sudoku, PUZZLE, "--max-new-tokens", 14, "--cpu", "ref", "--threads", "1",
                                 "--algorithm", "llada.generate", "--block-length", "7", "--no-stats")
    before, behind = re.split(r"\r\x1b\[K(?=[1-6])", screen)
    assert status == 0 and "tokens known" in before
    assert re.fullmatch(r"([1-6]{6}\n){2}", behind.replace("\r", "")), "text as it becomes final, and nothing else"
    status, screen = on_terminal("generate", dialog, "What is 347 + 285?", "--no-stats")
    assert status == 0
    behind = screen[screen.index("632"):]
    assert behind.replace("\r", "") == "632\n", "no line comes behind the first text"
    status, screen = on_terminal("generate", dialog, "What is 347 + 285?", "--no-stats", env={"TERM": "dumb"})
    assert status == 0 and "\x1b" not in screen and screen.rstrip().endswith("632")


def test_an_interrupt_while_loading_leaves_no_line(tmp_path):
    """The signal comes while a file is read that is larger than what is read in a moment."""
    path = export(DEMO, tmp_path / "m.pte")
    for term, wiped in (("xterm", "\r\x1b[K"), ("dumb", "\r\n")):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = subprocess.Popen([CLI, "run", str(path), "--method", "get_vocab_size", "--repeat", str(1 << 24)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=side,
                                   env={**os.environ, "TERM": term})
        os.close(side)
        seen, end = "", time.monotonic() + 60
        while "call " not in seen and time.monotonic() < end:
            if select.select([main], [], [], 0.1)[0]:
                seen += os.read(main, 4096).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        while select.select([main], [], [], 0)[0]:
            try:
                seen += os.read(main, 65536).decode()
            except OSError:
                break
        os.close(main)
        assert seen.endswith(wiped) and "call " in seen


def test_an_interrupted_decode_prints_what_is_known(sudoku):
    """With the status line, and with the view."""
    for more in (("--no-stream",), ("--visual", "--delay", "100")):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = subprocess.Popen([CLI, "generate", str(sudoku), PUZZLE, "--max-new-tokens", "48", "--cpu", "ref",
                                    "--threads", "1", "--algorithm", "llada.generate", "--no-stats", *more],
                                   stdin=subprocess.DEVNULL, stdout=side, stderr=side, env={**os.environ, "TERM": "xterm"})
        os.close(side)
        seen, end = "", time.monotonic() + 60
        while "tokens known" not in seen and time.monotonic() < end:
            if select.select([main], [], [], 0.1)[0]:
                seen += os.read(main, 65536).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:
                break
            if not chunk:
                break
            seen += chunk.decode("utf-8", "replace")
        os.close(main)
        assert process.wait(timeout=60) == 130
        last = re.split(r"\r\x1b\[K|\x1b\[J", seen)[-1]
        assert re.fullmatch(r"[1-6\n]*\n", last.replace("\r", "")), last
        assert "tokens known" not in last


# ---- the view --------------------------------------------------------------------------------------------------------

def test_generate_draws(sudoku):
    arguments = ("generate", sudoku, PUZZLE, "--max-new-tokens", 48, "--block-length", 16, "--visual", "--no-stats")
    status, screen = on_terminal(*arguments, env={"LC_ALL": "C.UTF-8"})
    assert status == 0
    frames = re.findall(r"pass (\d+), block (\d) of 3, (\d+) of 48 tokens known, [\d.]+ ms a pass", screen)
    assert [int(f[0]) for f in frames] == list(range(1, len(frames) + 1)) and {f[1] for f in frames} == {"1", "2", "3"}
    drawn = screen_text(screen[:screen.index("pass 1,")])
    assert "░" in drawn and drawn.rindex("░") < drawn.index("·") and drawn.count("·") == 32, "later blocks look different"
    assert re.search(r"\x1b\[3[1236]m", screen) and "confidence:" in screen
    answer = run("generate", sudoku, PUZZLE, "--max-new-tokens", 48, "--block-length", 16)
    assert screen.rpartition("\x1b[J")[2].replace("\r", "") == answer, "wiped, and the answer in its place"


@pytest.mark.parametrize("columns", (20, 40, 80))
def test_the_view_fits_and_needs_no_colour(sudoku, columns):
    status, screen = on_terminal("generate", sudoku, PUZZLE, "--max-new-tokens", 48, "--block-length", 16, "--visual",
                                 "--no-stats", columns=columns, env={"LC_ALL": "C.UTF-8", "NO_COLOR": "1"})
    assert status == 0 and not re.search(r"\x1b\[[0-9;]*m", screen) and "░" in screen and "confidence:" not in screen
    lines = screen_text(screen).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= columns
    if columns == 40:
        assert any(line.endswith("block 1 of 3,") for line in lines), "broken behind a comma"


def test_plain_characters_where_there_are_no_others(sudoku):
    status, screen = on_terminal("generate", sudoku, PUZZLE, "--max-new-tokens", 48, "--block-length", 16, "--visual",
                                 env={"LC_ALL": "POSIX", "LANG": "", "TERM": "dumb"})
    assert status == 0 and "░" not in screen and "--visual draws nothing here" in screen


def test_the_delay_is_between_passes(sudoku):
    arguments = ("generate", sudoku, PUZZLE, "--max-new-tokens", 48, "--block-length", 48, "--max-passes", 4, "--visual")
    begin = time.monotonic()
    status, screen = on_terminal(*arguments, "--delay", 200)
    assert status == 0 and time.monotonic() - begin >= 0.8 and "pass 4, 48 of 48" in screen


# ---- mistakes that cost nothing --------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments,words", [
    (["generate", "MODEL", "Hello", "--max-new-tokens", "9999"], "do not fit the context"),
    (["generate", "MODEL", "Hello", "--algorithm", "llada.generate"], "is for full attention"),
    (["generate", "MODEL", "Hello", "--remasking", "random"], "does not have it"),
    (["generate", "MODEL", "Hello", "--stop-ids", "99999"], "outside the vocabulary"),
    (["generate", "MODEL", "--token-ids", "5,99999"], "outside the vocabulary"),
    (["generate", "MODEL", "--prompt-file", "/no/such"], "cannot open '/no/such'"),
    (["infill", "MODEL", "no gap"], "the text has no mask"),
    (["infill", "MODEL", "<|mask|>", "--steps", "4"], "does not have it"),
    (["logits", "MODEL", "--token-ids", "99999", "--output", "TMP/l"], "outside the vocabulary"),
    (["eval", "MODEL", "TMP/long"], "question 2: "),
    (["sudoku", "MODEL", "TMP/long"], "puzzle 1 is no 6x6 Sudoku"),
    (["chat", "MODEL", "--system", "x", "--no-template"], "--system needs a chat template"),
    (["chat", "MODEL", "--algorithm", "llada.generate"], "is for full attention"),
    (["chat", "MODEL", "--block-length", "4000"], "block"),
    (["run", "MODEL", "--input", "/no/such"], "cannot open '/no/such'"),
], ids=lambda v: " ".join(v)[:30] if isinstance(v, list) else "")
def test_mistakes_are_told_before_the_model_is_loaded(dialog, tmp_path, arguments, words):
    (tmp_path / "long").write_text("".join(json.dumps({"prompt": "a " * n, "answer": "x"}) + "\n" for n in (1, 2000)))
    arguments = [a.replace("MODEL", str(dialog)).replace("TMP", str(tmp_path)) for a in arguments]
    status, screen = on_terminal(*arguments)
    assert status in (1, 2) and words in " ".join(screen.split()) and "loading" not in screen
