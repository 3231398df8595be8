"""What a user can get wrong, and what files can be: one clear sentence on the standard error, the right exit status, and
nothing half-written."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess

import pytest

from program import CLI, DATA, DEMO, export, fail, run, start

CHECKPOINT = DATA / "checkpoints" / "llada-tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(CHECKPOINT, tmp_path_factory.mktemp("errors") / "model.pte")


# ---- command lines ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments,words", [
    ([], "a command is needed"),
    (["generat"], "there is no command 'generat'; did you mean 'generate'?"),
    (["help", "exprot"], "did you mean 'export'?"),
    (["xyzzy"], "there is no command 'xyzzy'"),
    (["--verbose"], "no option --verbose before the command"),
    (["generate", "MODEL", "--max-new-token", "5"], "no option --max-new-token; did you mean --max-new-tokens?"),
    (["generate", "MODEL", "--promt", "hi"], "did you mean --prompt?"),
    (["generate", "MODEL", "--temprature=1"], "did you mean --temperature?"),
    (["export", "--quantisation", "none"], "did you mean --quantization?"),
    (["generate", "MODEL", "--qqqqqqqqqqqq"], "generate has no option --qqqqqqqqqqqq"),
    (["generate", "MODEL", "-p", "hi"], "no option -p"),
    (["generate", "MODEL", "--prompt"], "--prompt needs a value"),
    (["generate"], "generate needs a .pte file"),
    (["generate", "MODEL"], "generate needs a prompt"),
    (["generate", "MODEL", "--prompt", "a", "--token-ids", "1"], "only one prompt"),
    (["generate", "MODEL", "hello", "there"], "generate takes one prompt, not 'there' as well"),
    (["generate", "--pte-path", "MODEL", "hello", "there"], "generate takes one prompt, not 'there' as well"),
    (["generate", "MODEL", "hello", "--prompt", "a"], "only one prompt"),
    (["generate", "MODEL", "-", "--token-ids", "1"], "only one prompt"),
    (["generate", "MODEL", "hello", "--visual", "--json"], "--visual draws, --json and --steps-json print data"),
    (["generate", "MODEL", "hello", "--delay", "5"], "--delay is for --visual"),
    (["generate", "MODEL", "hello", "--visual", "--delay", "-5"], "--delay: expected a whole number from 0"),
    (["generate", "MODEL", "--prompt", "a", "--stop", ""], "--stop needs a text"),
    (["generate", "MODEL", "--token-ids", "1", "--system", "x"], "--chat and --system are for text prompts"),
    (["generate", "MODEL", "--prompt", "a", "--no-chat", "--system", "x"], "--system is a part of the chat template"),
    (["generate", "MODEL", "--prompt", "a", "--threads", "many"], "--threads: expected a whole number from 0 to 1024, got 'many'"),
    (["generate", "MODEL", "--prompt", "a", "--threads", "-1"], "got '-1'"),
    (["generate", "MODEL", "--prompt", "a", "--threads", "99999999999999999999"], "--threads: expected a whole number"),
    (["generate", "MODEL", "--prompt", "a", "--temperature", "-1"], "option 'temperature': expected a number from 0"),
    (["generate", "MODEL", "--prompt", "a", "--temperature", "nan"], "got 'nan'"),
    (["generate", "MODEL", "--prompt", "a", "--max-new-tokens", "1.5"], "option 'max_new_tokens': expected a whole number"),
    (["generate", "MODEL", "--prompt", "a", "--algorithm", "magic"], "option 'algorithm': expected one of"),
    (["generate", "MODEL", "--prompt", "a", "--stop-ids", "1,x"], "option 'stop_ids': expected at most"),
    (["generate", "MODEL", "--prompt", "a", "--temperature="], "option 'temperature': expected a number from"),
    (["generate", "MODEL", "--prompt", "a", "--max-new-tokens", ""], "option 'max_new_tokens': expected a whole number"),
    (["generate", "MODEL", "--prompt", "a", "--algorithm", ""], "option 'algorithm': expected one of"),
    (["generate", "MODEL", "--prompt", "a", "--json="], "--json: expected true or false, got ''"),
    (["generate", "MODEL", "--prompt-file", ""], "--prompt-file is empty; expected FILE"),
    (["generate", "MODEL", "--token-ids="], "--token-ids is empty; expected I,J,..."),
    (["generate", "MODEL", "--prompt", "a", "--cpu="], "--cpu is empty; expected NAME"),
    (["generate", "", "a"], "generate needs a .pte file"),
    (["export", "a", ""], "export needs a checkpoint folder and a .pte to write"),
    (["export", "", "b"], "export needs a checkpoint folder and a .pte to write"),
    (["export", "a", "b", "--quantization="], "--quantization is empty; expected NAME"),
    (["export", "a", "b", "--work-folder", ""], "--work-folder is empty; expected DIR"),
    (["generate", "MODEL", "--prompt", "a", "--json=maybe"], "--json: expected true or false, got 'maybe'"),
    (["generate", "MODEL", "--prompt", "a", "--early-stop=maybe"], "option 'early_stop': expected true or false"),
    (["inspect", "MODEL", "--dot"], "--primitive and --dot are for --graph"),
    (["inspect", "MODEL", "--json", "--graph"], "cannot be combined"),
    (["inspect", "MODEL", "other.pte"], "not 'other.pte' as well"),
    (["inspect", "MODEL", "--graph", "--sessions", "2"], "--graph says nothing about memory"),
    (["inspect", "MODEL", "--sessions", "0"], "--sessions: expected a whole number from 1 to 1024"),
    (["inspect", "MODEL", "--kv-cache", "int4"], "--kv-cache: expected float32, float16 or int8, got 'int4'"),
    (["generate", "MODEL", "--token-ids", "1", "--kv-cache", "f16"], "--kv-cache: expected float32, float16 or int8, got 'f16'"),
    (["logits", "MODEL", "--token-ids", "1"], "logits needs --token-ids and --output"),
    (["logits", "MODEL", "--token-ids", "1", "--output", "o", "--block-size", "-4"], "--block-size: expected a whole number"),
    (["tokenize"], "tokenize needs: FILE|FOLDER TEXT"),
    (["tokenize", "MODEL"], "tokenize needs one text"),
    (["tokenize", "MODEL", "a", "b"], "not 'b' as well"),
    (["tokenize", "--pte-path", "MODEL", "a", "b"], "tokenize needs one text; quotes keep words together"),
    (["detokenize", "MODEL"], "detokenize needs one list of token ids"),
    (["export"], "export needs a checkpoint folder and a .pte to write: export DIR FILE"),
    (["export", "a"], "export needs a checkpoint folder and a .pte to write"),
    (["export", "--output-path", "b"], "export needs a checkpoint folder and a .pte to write"),
    (["export", "--hf-model-path", "a", "--output-path", "b", "c"], "export does not know what to do with 'c'"),
    (["export", "a", "b", "c"], "takes DIR FILE, not 'c' as well"),
    (["export", "--hf-model-path", "a", "--output-path", "b", "--max-seq-len", "0"], "from 1 to"),
    (["infill", "MODEL"], "infill needs either --prefix and --suffix"),
    (["infill", "MODEL", "a", "--prefix", "b"], "infill needs either"),
    (["infill", "MODEL", "a <|mask|>", "--length", "3"], "--length is for --prefix and --suffix"),
    (["eval", "MODEL"], "eval needs a .pte and a file"),
    (["sudoku", "MODEL"], "sudoku needs a .pte and a file of puzzles"),
    (["sudoku", "MODEL", "p", "--all", "--count", "2"], "cannot be combined"),
], ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "")
def test_wrong_command_lines(model, arguments, words):
    message = fail(*(model if a == "MODEL" else a for a in arguments), status=2)
    assert words in message and "--help' lists what there is" in message


# ---- requests --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments,words", [
    (["generate", "MODEL", "--token-ids", "1,2,99999"], "99999 at position 2 is outside the vocabulary of 1472"),
    (["generate", "MODEL", "--token-ids", "1,-2"], "token ids: expected numbers from 0"),
    (["generate", "MODEL", "--token-ids", "1,,2"], "token ids: expected"),
    (["generate", "MODEL", "--token-ids", "1,2,"], "token ids: expected"),
    (["generate", "MODEL", "--token-ids", " "], "token ids: expected"),
    (["generate", "MODEL", "--token-ids", "99999999999"], "token ids: expected"),
    (["generate", "MODEL", "--token-ids", ",".join(["5"] * 128)], "leaves no room for an answer"),
    (["generate", "MODEL", "--token-ids", ",".join(["5"] * 100), "--max-new-tokens", "29"], "at most 28 new tokens are possible"),
    (["generate", "MODEL", "--prompt", "", "--no-chat"], "the prompt is empty"),
    (["generate", "MODEL", "--prompt-file", "/no/such/file"], "cannot open '/no/such/file'"),
    (["generate", "MODEL", "--prompt", "a", "--strategy", "sequential"], "llada.generate does not have it"),
    (["generate", "MODEL", "--prompt", "a", "--algorithm", "sdar.generate"], "sdar.generate is for block-causal attention"),
    (["generate", "MODEL", "--prompt", "a", "--stop-ids", "99999"], "outside the vocabulary"),
    (["generate", "MODEL", "--prompt", "a", "--cpu", "quantum"], "quantum"),
    (["logits", "MODEL", "--token-ids", "1472", "--output", "TMP/l"], "outside the vocabulary"),
    (["logits", "MODEL", "--token-ids", ",".join(["5"] * 129), "--output", "TMP/l"], "129 token ids do not fit the context of 128"),
    (["logits", "MODEL", "--token-ids", "1", "--output", "TMP/no/l"], "No such file"),
    (["logits", "MODEL", "--token-ids", "1", "--output", "TMP"], "folder"),
    (["infill", "MODEL", "no gap"], "the text has no mask to fill in"),
    (["infill", "MODEL", "--prefix", "a", "--length", "4000"], "4000 masks do not fit the context of 128"),
    (["infill", "MODEL", "--prefix", "a", "--max-new-tokens", "4"], "--length sets their number"),
    (["tokenize", "/no/such/folder", "a"], "No such file"),
    (["tokenize", "TMP", "a"], "tokenizer"),
    (["detokenize", "MODEL", "1,x"], "token ids: expected"),
    (["eval", "MODEL", "/no/such/file"], "cannot open '/no/such/file'"),
    (["inspect", "/no/such/file.pte"], "cannot open '/no/such/file.pte': No such file or directory"),
    (["inspect", "TMP"], "not a regular file"),
    (["inspect", "MODEL", "--max-rows", "129"], "129 rows a call was asked for; the file allows 1 to 128"),
    (["inspect", "MODEL", "--max-context", "200"], "200 positions was asked for; the file allows 1 to 128"),
    (["generate", "TMP", "--prompt", "a"], "not a regular file"),
    (["generate", "CHECKPOINT/config.json", "--prompt", "a"], "config.json"),
    (["generate", "CHECKPOINT", "a"], "is a checkpoint folder, not a program: export it first: diffulex-edge export CHECKPOINT model.pte"),
    (["inspect", "CHECKPOINT"], "is a checkpoint folder, not a program"),
    (["chat", "CHECKPOINT"], "is a checkpoint folder, not a program"),
    (["generate", "/dev/null", "--prompt", "a"], "not a regular file"),
], ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "")
def test_impossible_requests(model, tmp_path, arguments, words):
    places = {"MODEL": str(model), "TMP": str(tmp_path), "CHECKPOINT": str(CHECKPOINT)}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
        words = words.replace(name, place)
    assert words in fail(*arguments)
    assert os.listdir(tmp_path) == [], "nothing was written"


def test_a_model_without_a_tokenizer_needs_ids(tmp_path):
    for file in ("config.json", "model.safetensors"):
        shutil.copy(CHECKPOINT / file, tmp_path)
    path = export(tmp_path, tmp_path / "m.pte")
    assert "carries no tokenizer; work with token ids" in fail("generate", path, "--prompt", "a")
    assert "carries no tokenizer" in fail("tokenize", path, "a")
    run("generate", path, "--token-ids", "1,2", "--max-new-tokens", "4")


@pytest.mark.parametrize("line,words", [
    ("not json", "line 2:"),
    ("[1]", "line 2: it is no JSON object"),
    ('{"prompt": "a"}', 'line 2: it has no text "answer"'),
    ('{"answer": "a"}', 'line 2: it needs either a text "prompt" or "messages"'),
    ('{"prompt": "a", "messages": [], "answer": "b"}', "line 2: it needs either"),
    ('{"messages": [], "answer": "b"}', "line 2: \"messages\" is not a list of messages"),
    ('{"prompt": 3, "answer": "b"}', "line 2: it needs either"),
])
def test_broken_question_files(model, tmp_path, line, words):
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n' + line + "\n")
    assert words in fail("eval", model, file)
    assert words in fail("sudoku", model, file)


def test_other_question_files(model, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text("\n\n")
    assert "has no line to read" in fail("eval", model, file)
    file.write_text('{"prompt": "a", "answer": "b"}\n')
    assert "puzzle 1 is no 6x6 Sudoku" in fail("sudoku", model, file)
    file.write_text(json.dumps({"prompt": "word " * 200, "answer": "b"}) + "\n")
    assert "question 1: the prompt has" in fail("eval", model, file)


def test_questions_that_need_a_block_model(tmp_path):
    sdar = export(DATA / "checkpoints" / "sdar-tiny", tmp_path / "sdar.pte")
    done = start("sudoku", sdar, DEMO / "eval" / "heldout.jsonl")
    assert (done.returncode, done.stdout) == (1, "") and "llada.generate" in done.stderr


# ---- broken programs -------------------------------------------------------------------------------------------------

def test_truncated_files(model, tmp_path):
    data, file = model.read_bytes(), tmp_path / "cut.pte"
    rng = random.Random(1)
    for size in [0, 1, 4, 8, 31, 32, 100, len(data) // 2, len(data) - 1] + [rng.randrange(len(data)) for _ in range(12)]:
        file.write_bytes(data[:size])
        for arguments in (["inspect", file], ["generate", file, "--token-ids", "1,2", "--max-new-tokens", "2"], ["tokenize", file, "a"]):
            assert str(file) in fail(*arguments)


def test_flipped_bits(model, tmp_path):
    """A flip in the weights goes unnoticed; one in the program ends in a sentence. None ends in a signal or hangs."""
    data, file = model.read_bytes(), tmp_path / "flipped.pte"
    rng = random.Random(2)
    refused = 0
    for i in range(120):
        place = rng.randrange(12000) if i % 4 else rng.randrange(len(data))
        broken = bytearray(data)
        broken[place] ^= 1 << rng.randrange(8)
        file.write_bytes(broken)
        done = start("generate", file, "--token-ids", "1,2,3", "--max-new-tokens", "4", "--threads", "1")
        assert done.returncode in (0, 1), (place, done)
        assert done.stderr.count("\n") == done.returncode and ("diffulex-edge: " in done.stderr) == done.returncode
        assert start("inspect", file, "--json").returncode in (0, 1)
        refused += done.returncode
    assert refused > 20


def test_random_bytes(tmp_path):
    file = tmp_path / "noise.pte"
    file.write_bytes(random.Random(3).randbytes(5000))
    assert str(file) in fail("inspect", file)


# ---- export ----------------------------------------------------------------------------------------------------------

def refuse_export(checkpoint, output, *more, **kwargs):
    return fail("export", "--hf-model-path", checkpoint, "--output-path", output, *more, **kwargs)


def broken_checkpoint(tmp_path, **config):
    folder = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, folder)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("more,words", [
    (["--backend", "vulkan"], "backend 'vulkan' is not available"),
    (["--quantization", "int3"], "quantization 'int3' is not available"),
    (["--max-seq-len", "4096"], "max_seq_len 4096 is above the checkpoint's"),
    (["--max-seq-len", "64", "--max-rows", "65"], "max_rows 65 is above max_seq_len 64"),
    (["--model-type", "gpt2"], "gpt2"),
])
def test_export_refuses(tmp_path, more, words):
    assert words in refuse_export(CHECKPOINT, tmp_path / "m.pte", *more)
    assert os.listdir(tmp_path) == []


def test_export_of_unknown_models(tmp_path):
    out = tmp_path / "out" / "m.pte"
    out.parent.mkdir()
    folder = broken_checkpoint(tmp_path, model_type="mamba", architectures=["MambaForCausalLM"])
    assert "MambaForCausalLM" in refuse_export(folder, out)
    assert "nobody/nothing" in refuse_export("nobody/nothing", out, env={"HF_HUB_CACHE": str(tmp_path)})
    assert "/no/such/folder" in refuse_export("/no/such/folder", out)
    assert str(tmp_path) in refuse_export(tmp_path / "out", out), "a folder without config.json"
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize("file,damage", [
    ("config.json", lambda b: b[:-20]), ("config.json", lambda b: b""), ("config.json", lambda b: b"[]"),
    ("model.safetensors", lambda b: b[:-1000]), ("model.safetensors", lambda b: b[:6]),
    ("model.safetensors", lambda b: b"\xff" * 8 + b[8:]), ("model.safetensors", lambda b: b.replace(b"F32", b"F99", 1)),
    ("tokenizer.json", lambda b: b[:5000]), ("tokenizer.json", lambda b: b"{}"),
])
def test_export_of_damaged_checkpoints(tmp_path, file, damage):
    folder, out = broken_checkpoint(tmp_path), tmp_path / "out"
    out.mkdir()
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    message = refuse_export(folder, out / "m.pte")
    assert file in message
    assert os.listdir(out) == []


def test_export_to_impossible_places(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert "No such file" in refuse_export(CHECKPOINT, tmp_path / "none" / "m.pte")
    assert "Not a directory" in refuse_export(CHECKPOINT, tmp_path / "file" / "m.pte")
    assert "it is a folder" in refuse_export(CHECKPOINT, tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and os.listdir(tmp_path / "folder") == []


def test_export_to_an_unwritable_folder(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    try:
        assert "Permission denied" in refuse_export(CHECKPOINT, tmp_path / "m.pte")
    finally:
        tmp_path.chmod(0o755)


def test_a_failed_export_keeps_the_older_file(tmp_path):
    path = tmp_path / "m.pte"
    path.write_bytes(b"older")
    limit = 100000
    message = refuse_export(CHECKPOINT, path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert "File too large" in message and str(path) in message
    assert path.read_bytes() == b"older" and os.listdir(tmp_path) == ["m.pte"]
    target = tmp_path / "l.safetensors"
    model = export(CHECKPOINT, tmp_path / "whole.pte")
    message = fail("logits", model, "--token-ids", ",".join(["5"] * 64), "--output", target,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert "File too large" in message and not target.exists()
    assert sorted(os.listdir(tmp_path)) == ["m.pte", "whole.pte"]


def test_export_to_a_full_disk(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        message = refuse_export(CHECKPOINT, tmp_path / "m.pte")
        assert "No space left on device" in message and "m.pte" in message
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_standard_output(model):
    with open("/dev/full", "w") as full:
        done = subprocess.run([CLI, "inspect", str(model)], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.startswith("diffulex-edge: cannot write to the standard output: ")


def test_an_interrupted_export_leaves_nothing(tmp_path):
    """The signal may come before, during or after the writing; half a file is left in no case."""
    for delay in (0, 0.002, 0.004, 0.006, 0.01):
        path = tmp_path / "m.pte"
        process = subprocess.Popen([CLI, "export", "--hf-model-path", str(DEMO), "--output-path", str(path)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            process.wait(timeout=delay or 0.0001)
        except subprocess.TimeoutExpired:
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        if path.exists():
            run("inspect", path)
            path.unlink()
        assert os.listdir(tmp_path) == []
