"""The original system's scripts and modules that are run: export, chat, the package itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import DATA

ROOT = Path(__file__).resolve().parent.parent.parent


def run_module(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_export_script(tmp_path):
    checkpoint = DATA / "checkpoints" / "dream-tiny"
    script = "diffulex_edge.scripts.export_model"
    done = run_module(
        script,
        "--hf-model-path",
        checkpoint,
        "--output-path",
        tmp_path / "a.pte",
        "--backend",
        "xnnpack",
        "--quantization",
        "int8-dynamic",
        "--max-seq-len",
        64,
    )
    assert done.returncode == 0 and "a.pte" in done.stdout, done.stderr
    done = run_module(
        script,
        checkpoint,
        "-o",
        tmp_path / "b.pte",
        "--model-type",
        "dream",
        "--max-seq-len",
        "64",
        "--batch-size",
        "1",
        "--quantization",
        "dynamic_int8",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()
    for arguments, status in (
        (["-o", "x"], 2),
        ([checkpoint], 2),
        ([checkpoint, "--hf-model-path", checkpoint, "-o", "x"], 2),
        ([checkpoint, "-o", tmp_path / "c", "--batch-size", "2"], 2),
        ([checkpoint, "-o", tmp_path / "c", "--backend", "vulkan"], 1),
        ([checkpoint, "-o", tmp_path / "c", "--backend", "coreml", "--soc", "SM8650"], 1),
        ([checkpoint, "-o", tmp_path / "c", "--delegate-layers", "-1"], 2),
        ([tmp_path / "none", "-o", tmp_path / "c"], 1),
    ):
        done = run_module(script, *arguments)
        assert done.returncode == status and done.stderr.strip(), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()


SLOW_EXPORT = """
import runpy, sys, time
import diffulex_edge
export = diffulex_edge.export_checkpoint
def slow(*arguments, progress, **keywords):
    def slowly(done, total):
        print("writing", flush=True)
        time.sleep(0.3)
    return export(*arguments, progress=slowly, **keywords)
diffulex_edge.export_checkpoint = slow
sys.argv = ["export_model", *sys.argv[1:]]
runpy.run_module("diffulex_edge.scripts.export_model", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_export_script_ended_by_a_signal(tmp_path, number):
    target = tmp_path / "a.pte"
    target.write_text("older")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EXPORT, DATA / "checkpoints" / "sdar-tiny", "-o", target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.pte"] and target.read_text() == "older"


def test_help_of_the_export_script(monkeypatch):
    text = " ".join(run_module("diffulex_edge.scripts.export_model", "--help").stdout.split())
    for words in "int8-dynamic (or int8, dynamic-int8)", "none (or float32, fp32) (default)", "xnnpack (default)":
        assert words in text, words
    monkeypatch.setenv("DLX_LIBRARY", "/no/such/file")
    text = " ".join(run_module("diffulex_edge.scripts.export_model", "--help").stdout.split())
    assert "a name of diffulex_edge.export_schemes()" in text


def test_chat_arguments(monkeypatch):
    from diffulex_edge.__main__ import arguments_for_chat

    assert arguments_for_chat(
        [
            "--pte-path",
            "m.pte",
            "--max-tokens=5",
            "--temperature",
            "0.8",
            "--device",
            "cpu",
            "--model-type=sdar",
            "--stats",
        ]
    ) == ["--pte-path", "m.pte", "--max-new-tokens", "5", "--temperature", "0.8", "--stats"]
    with pytest.raises(ValueError, match="export_model"):
        arguments_for_chat(["--model-path", "folder"])
    with pytest.raises(ValueError, match="--max-tokens needs a value"):
        arguments_for_chat(["--pte-path", "m.pte", "--max-tokens"])


def test_status_of_the_chat():
    for arguments in (["--model-path", "folder"], ["--pte-path", "m.pte", "--top-k"], ["--no-such-flag"]):
        done = run_module("diffulex_edge", *arguments)
        assert done.returncode == 2 and done.stderr.strip() and "Traceback" not in done.stderr, arguments
    assert run_module("diffulex_edge", "--pte-path", "/no/such/file.pte").returncode == 1


def test_running_the_package(tmp_path):
    assert run_module("diffulex_edge").returncode == 2
    assert "--pte-path" in run_module("diffulex_edge", "--help").stdout
    program = tmp_path / "diffulex-edge"
    program.write_text("#!/bin/sh\nprintf '%s ' \"$@\"\n")
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "DLX_CLI": str(program)}
    done = subprocess.run(
        [sys.executable, "-m", "diffulex_edge", "--pte-path", "m.pte", "--top-k", "5"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["chat", "--pte-path", "m.pte", "--top-k", "5"] and done.returncode == 0
    environment["DLX_CLI"] = str(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-m", "diffulex_edge", "--pte-path", "m.pte"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "cmake --build" in done.stderr
