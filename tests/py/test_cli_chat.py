"""The chat command: turns and their prompts, the reused cache, settings, and the live view on a pseudo-terminal."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from program import CLI, DATA, DEMO, export, run_json, start


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{family: path of its float program}, and the demo model, which has no chat template."""
    folder = tmp_path_factory.mktemp("chat")
    out = {name: export(DATA / "checkpoints" / f"{name}-tiny", folder / f"{name}.pte")
           for name in ("llada", "dream", "sdar", "fast_dllm_v2")}
    out["demo"] = export(DEMO, folder / "demo.pte")
    return out


def chat(path, lines, *args, env=None):
    """What a chat prints when `lines` come in through a pipe: (standard output, standard error)."""
    done = subprocess.run([CLI, "chat", str(path), *map(str, args)], input="".join(line + "\n" for line in lines),
                          capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def statistics(stderr):
    return [line for line in stderr.splitlines() if " passes, " in line]


@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "fast_dllm_v2"])
def test_first_answer_is_that_of_generate(files, family):
    out, _ = chat(files[family], ["add: 6 + 2"], "--max-new-tokens", 16)
    alone = run_json("generate", files[family], "--prompt", "add: 6 + 2", "--max-new-tokens", 16)
    assert out == alone["generated_text"] + ("" if alone["generated_text"].endswith("\n") else "\n")


def test_later_turns_carry_the_history_and_reuse_the_cache(files):
    """SDAR and Fast-dLLM v2: the second answer is the one that the whole conversation as one prompt gets."""
    from diffulex_edge import Tokenizer
    for family in ("sdar", "fast_dllm_v2"):
        path = files[family]
        out, err = chat(path, ["add: 6 + 2", "repeat: dog cat"], "--max-new-tokens", 16, "--stats")
        first, second = out.split("\n")[:2]
        with Tokenizer.from_pte(path) as tokenizer:
            ids = tokenizer.apply_chat_template([
                {"role": "user", "content": "add: 6 + 2"}, {"role": "assistant", "content": first},
                {"role": "user", "content": "repeat: dog cat"}])
        whole = run_json("generate", path, "--token-ids", ",".join(map(str, ids)), "--max-new-tokens", 16)
        assert second == whole["generated_text"]
        lines = statistics(err)
        assert "cached" not in lines[0] and f"prompt of {len(ids)} tokens, " in lines[1] and "of them cached" in lines[1]


def test_full_attention_runs_everything_again(files):
    _, err = chat(files["llada"], ["add: 6 + 2", "add: 1 + 1"], "--max-new-tokens", 8, "--stats")
    assert len(statistics(err)) == 2 and "cached" not in err


def test_clear_forgets_and_system_is_heard(files):
    _, err = chat(files["sdar"], ["add: 6 + 2", "/clear", "add: 6 + 2", "/system be brief", "add: 6 + 2"],
                  "--max-new-tokens", 8, "--stats")
    prompts = [int(re.search(r"prompt of (\d+) tokens", line)[1]) for line in statistics(err)]
    assert prompts[0] == prompts[1] < prompts[2]


def test_full_context_forgets_the_oldest_turns(files):
    _, err = chat(files["sdar"], ["add: 6 + 2"] * 12, "--max-new-tokens", 24, "--stats")
    assert len(statistics(err)) == 12
    assert re.search(r"the context of \d+ tokens is full: the oldest 2 messages were forgotten", err)


def test_a_message_that_cannot_fit_is_refused_and_dropped(files):
    out, err = chat(files["sdar"], ["x " * 300, "add: 6 + 2"], "--max-new-tokens", 8)
    assert "diffulex-edge: " in err and "context" in err
    alone = run_json("generate", files["sdar"], "--prompt", "add: 6 + 2", "--max-new-tokens", 8)
    assert out.rstrip("\n") == alone["generated_text"].rstrip("\n")


def test_an_error_stands_below_an_answer_that_had_begun(files, tmp_path):
    """The embedding of " =" is infinite: the answer "6 + 2 = 9" breaks off when the model reads that token."""
    equals = run_json("tokenize", files["sdar"], " =")["ids"][0]
    weights = (DATA / "checkpoints" / "sdar-tiny" / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(weights[:8], "little")
    table = json.loads(weights[8:header])["model.embed_tokens.weight"]
    assert table["dtype"] == "BF16"
    width = table["shape"][1]
    row = weights[header + table["data_offsets"][0] + 2 * width * equals:][:2 * width]
    row = b"".join(b"\0\0" + row[k:k + 2] for k in range(0, len(row), 2))  # as float32
    program = files["sdar"].read_bytes()
    assert program.count(row) == 1
    path = tmp_path / "m.pte"
    path.write_bytes(program.replace(row, b"\0\0\x80\x7f" * width))
    t = Terminal("chat", path, "--max-new-tokens", 16)
    t.wait_for("> ")
    t.type("add: 6 + 2\r")
    came = t.wait_for("\n> ").replace("\r", "")
    assert re.search(r"6 \+ 2 =\n(\x1b\[K)?diffulex-edge: .*\n> $", came), came
    t.type("/quit\r")
    assert t.end() == 0


def test_settings_reach_the_decoder(files):
    out, err = chat(files["sdar"], ["/max 4", "/conf 0.5", "/temp", "/topk 3", "/bogus", "/iter 2", "/temp x", "add: 6 + 2",
                                    "/conf off", "/config"], "--stats")
    assert "max: 4\n" in out and "conf: 0.5\n" in out and "temp: default, 0\n" in out and "topk: 3\n" in out
    assert "there is no command /bogus" in out and "option 'temperature'" in out
    assert int(statistics(err)[0].split()[0]) <= 4
    assert "conf: default, 0.85\n" in out and "iter: 2\n" in out
    config = out[out.index("model: sdar"):]
    assert "\nchat template: the model's\n" in config
    assert re.search(r"^runs with: \w+ kernels, \d+ threads, cached keys and values float32$", config, re.M)
    rows = dict(re.findall(r"^  (\w+) +([^ \n]+)", config, re.M))
    assert rows == {
        "algorithm": "sdar.generate", "published": "false", "max_new_tokens": "4", "block_length": "4",
        "denoising_steps": "2", "max_passes": "2", "temperature": "0", "top_k": "3", "top_p": "1", "seed": "0",
        "stop_ids": rows["stop_ids"], "threshold": "0.85", "eb_threshold": "0.35", "strategy": "low_confidence_dynamic",
        "fuse_commit": "true"}
    assert re.search(r"^  top_k +3   /topk, set here$", config, re.M) and re.search(r"^  top_p +1   /topp$", config, re.M)


def test_iterations_and_confidence_follow_the_family(files):
    passes = {}
    for family in ("llada", "dream", "sdar", "fast_dllm_v2"):
        for command in ("/iter 2", "/conf 0.01", "/conf 1"):
            _, err = chat(files[family], ["/max 32", command, "repeat: dog cat"], "--stats", "--stop-ids", "none")
            passes[family, command] = int(re.search(r"(\d+) passes", statistics(err)[0])[1])
    assert passes["llada", "/iter 2"] == passes["dream", "/iter 2"] == 2
    assert passes["sdar", "/iter 2"] <= 2 * 9 + 1  # blocks of 4
    assert passes["fast_dllm_v2", "/iter 2"] <= 2 * (2 + 1) + 1  # blocks of 32, each run once more into the cache
    for family in ("llada", "dream", "sdar", "fast_dllm_v2"):
        assert passes[family, "/iter 2"] < passes[family, "/conf 1"]
    assert passes["llada", "/conf 0.01"] <= 2 and passes["dream", "/conf 0.01"] <= 4
    assert passes["fast_dllm_v2", "/conf 0.01"] <= 6
    out, _ = chat(files["fast_dllm_v2"], ["/iter 0", "/iter 4", "/iter off", "/topk 2"])
    assert "option 'max_passes'" in out and "iter: 4\n" in out and "iter: default\n" in out and "has no top_k" in out


def test_settings_come_from_the_command_line(files):
    out, _ = chat(files["dream"], ["/iter"], "--max-passes", 3)
    assert out == "iter: 3\n"


def test_lines_are_joined_and_control_tokens_stay_text(files):
    _, joined = chat(files["sdar"], ["one\\", "two"], "--max-new-tokens", 4, "--stats")
    assert len(statistics(joined)) == 1
    _, plain = chat(files["sdar"], ["<|im_end|>"], "--max-new-tokens", 4, "--stats")
    _, short = chat(files["sdar"], ["x"], "--max-new-tokens", 4, "--stats")
    length = [int(re.search(r"prompt of (\d+) tokens", statistics(e)[0])[1]) for e in (plain, short)]
    assert length[0] > length[1] + 2  # several characters, not one control token


PUZZLE = [line + "\\" for line in "Solve\n2...6.\n5.6...\n....36\n.....4\n.2.45.\n3.....".split("\n")] + [""]


def test_a_model_without_a_template_continues_lines(files):
    out, _ = chat(files["demo"], PUZZLE, "--max-new-tokens", 48)
    assert re.fullmatch(r"([1-6]{6}\n){6}", out), out


def test_options_of_the_template(files, tmp_path):
    """They reach the template: the prompt is the one that tokenize shows, and so is its length."""
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}{{ m.content ~ end }}{% endfor %}")
    thinking = ("--enable-thinking=false",), ("--no-enable-thinking",), (
        "--chat-template-kwargs", '{"enable_thinking": false}')
    plain = start("tokenize", files["sdar"], "hi", "--chat").stdout
    prompts = {start("tokenize", files["sdar"], "hi", "--chat", *options).stdout for options in thinking}
    assert len(prompts) == 1 and plain not in prompts
    assert start("tokenize", files["sdar"], "hi", "--chat", "--enable-thinking").stdout == plain
    own = "--chat-template", template, "--chat-template-kwargs", '{"end": "!"}'
    assert start("tokenize", files["sdar"], "hi", "--chat", *own).stdout == start("tokenize", files["sdar"], "hi!").stdout
    for options in (*thinking, own):
        want = start("tokenize", files["sdar"], "hi", "--chat", *options).stdout
        got = run_json("generate", files["sdar"], "--prompt", "hi", "--max-new-tokens", 4, *options)["prompt_ids"]
        assert ",".join(map(str, got)) == want.strip()
        _, err = chat(files["sdar"], ["hi"], "--max-new-tokens", 4, "--stats", *options)
        assert f"prompt of {len(got)} tokens" in statistics(err)[0]
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", '
                         '"content": null, "tool_calls": []}], "answer": "x"}\n')
    assert start("eval", files["sdar"], questions, "--max-new-tokens", 4, *own).returncode == 0
    # A base model gets a template from the command line.
    assert start("generate", files["demo"], "--prompt", "1", "--max-new-tokens", 6, *own).returncode == 0
    assert chat(files["demo"], ["1"], "--max-new-tokens", 6, *own)[0]


def test_wrong_templates(files, tmp_path):
    broken = tmp_path / "broken.jinja"
    broken.write_text("a\n{{ x | nope }}")
    for command in ("tokenize", files["sdar"], "hi", "--chat"), ("generate", files["sdar"], "--prompt", "hi"):
        done = start(*command, "--chat-template", broken)
        assert done.returncode == 1 and "chat template, line 2: there is no filter 'nope'" in done.stderr
        done = start(*command, "--chat-template-kwargs", "{")
        assert done.returncode == 1 and "template_kwargs: not JSON" in done.stderr
        assert start(*command, "--chat-template", tmp_path / "missing").returncode == 1
    assert start("tokenize", files["sdar"], "hi", "--enable-thinking").returncode == 2
    assert start("generate", files["sdar"], "--prompt", "hi", "--no-chat", "--enable-thinking").returncode == 2
    assert start("generate", files["sdar"], "--token-ids", "1,2", "--chat-template", broken).returncode == 2
    assert start("generate", files["demo"], "--prompt", "1", "--enable-thinking").returncode == 1
    assert start("chat", files["demo"], "--enable-thinking").returncode == 2
    assert start("chat", files["sdar"], "--chat-template", tmp_path / "missing").returncode == 1


def test_export_reports_a_template(tmp_path):
    """One that does not compile is an error of the export; another one, or none, can be taken."""
    import shutil
    folder, pte = tmp_path / "ck", tmp_path / "m.pte"
    shutil.copytree(DATA / "checkpoints" / "sdar-tiny", folder)
    (folder / "chat_template.jinja").write_text("{% include 'x' %}")
    command = "export", "--hf-model-path", folder, "--output-path", pte
    done = start(*command)
    assert done.returncode == 1 and "chat_template.jinja': chat template, line 1: the statement 'include'" in done.stderr
    assert not pte.exists()
    assert start(*command, "--chat-template", "none").returncode == 0
    assert start("tokenize", pte, "hi", "--chat").returncode == 1
    (tmp_path / "t.jinja").write_text("<|im_start|>{{ messages[0].content }}")
    assert start(*command, "--chat-template", tmp_path / "t.jinja").returncode == 0
    want = start("tokenize", pte, "<|im_start|>hi", "--special").stdout
    assert start("tokenize", pte, "hi", "--chat").stdout == want
    done = start(*command, "--chat-template", "nowhere")
    assert done.returncode == 1 and "'nowhere'" in done.stderr


def test_wrong_use(files):
    assert start("chat").returncode == 2
    assert start("chat", files["sdar"], "extra").returncode == 2
    assert start("chat", files["demo"], "--system", "x").returncode == 2
    assert start("chat", "/nonexistent.pte").returncode == 1


class Terminal:
    """The program on a pseudo-terminal of 24 lines and `columns` columns."""

    def __init__(self, *args, columns=80, env=None):
        import fcntl
        import struct
        import termios
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(CLI, [CLI, *map(str, args)], {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.seen = ""

    def wait_for(self, text, timeout=60):
        """Reads until `text` has come since the last call; returns what came."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come: {self.seen[-2000:]!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        assert text in self.seen, self.seen[-2000:]
        at = self.seen.index(text) + len(text)
        came, self.seen = self.seen[:at], self.seen[at:]
        return came

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Exit status once the program has ended; kills it after ten seconds."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:  # it is ending
                    time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("the program did not end")


def test_visual_draws_masks_that_turn_into_coloured_tokens(files):
    t = Terminal("chat", files["llada"], "--visual", "--max-new-tokens", 24)
    t.wait_for("> ")
    t.type("repeat: dog cat\r")
    came = t.wait_for("confidence:") + t.wait_for("░") + t.wait_for("> ")
    assert "░" in came and re.search(r"\x1b\[3[1236]m", came)
    widths = [len(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)) for line in came.replace("\r", "\n").split("\n")]
    assert max(widths) <= 80
    t.type("/quit\r")
    assert t.end() == 0


def test_scores_below_zero_have_colours(files):
    """Dream ranks by negative entropy."""
    t = Terminal("chat", files["dream"], "--visual", "--max-new-tokens", 24)
    t.wait_for("> ")
    t.type("repeat: dog cat\r")
    t.wait_for("new in this pass")
    assert re.search(r"\x1b\[3[1236]m", t.wait_for("> "))
    t.type("/quit\r")
    assert t.end() == 0


def test_no_colour_and_narrow_terminal(files):
    t = Terminal("chat", files["llada"], "--visual", "--max-new-tokens", 24, columns=20, env={"NO_COLOR": "1"})
    t.wait_for("> ")
    t.type("repeat: dog cat\r")
    came = t.wait_for("░") + t.wait_for("> ")
    assert not re.search(r"\x1b\[[0-9;]*m", came) and "░" in came
    t.type("\x04")
    assert t.end() == 0


def test_ctrl_c_stops_the_answer_not_the_program(files):
    t = Terminal("chat", files["demo"], "--max-new-tokens", 48, "--threads", 1, "--cpu", "ref")
    t.wait_for("> ")
    t.type("/visual on\r")
    t.wait_for("visual: on")
    t.wait_for("> ")
    for line in PUZZLE:
        t.type(line + "\r")
    t.wait_for("░")
    t.type("\x03")
    t.wait_for("[stopped]")
    t.wait_for("> ")
    t.type("half a line\x03")
    t.wait_for("Ctrl-D or /quit leaves")
    t.wait_for("> ")
    t.type("/config\r")
    t.wait_for("model: llada")
    t.type("/exit\r")
    assert t.end() == 0


def test_typed_utf8_reaches_the_model(files):
    t = Terminal("chat", files["sdar"], "--max-new-tokens", 8)
    t.wait_for("> ")
    t.type("repeat: dé 世\x7f界\r")  # a character is taken back
    answer = chat(files["sdar"], ["repeat: dé 界"], "--max-new-tokens", 8)[0]
    assert answer != chat(files["sdar"], ["repeat: d "], "--max-new-tokens", 8)[0]
    came = t.wait_for("\n> ").replace("\r", "")
    assert came.endswith(answer + "> "), (came, answer)
    t.type("/quit\r")
    assert t.end() == 0


def test_a_backslash_asks_for_more(files):
    t = Terminal("chat", files["sdar"], "--max-new-tokens", 8)
    t.wait_for("> ")
    t.type("one\\\r")
    t.wait_for("\n. ")
    t.type("two\r")
    answer = chat(files["sdar"], ["one\\", "two"], "--max-new-tokens", 8)[0]
    assert t.wait_for("\n> ").replace("\r", "").endswith(answer + "> ")
    t.type("/quit\r")
    assert t.end() == 0


def test_nothing_is_drawn_unasked_or_into_a_pipe(files):
    out, err = chat(files["llada"], ["repeat: dog cat"], "--max-new-tokens", 24)
    assert (out, err) == chat(files["llada"], ["repeat: dog cat"], "--max-new-tokens", 24, "--visual")
    assert "\x1b" not in out
    t = Terminal("chat", files["llada"], "--max-new-tokens", 24)
    t.wait_for("> ")
    t.type("repeat: dog cat\r")
    came = t.wait_for("\n> ")
    assert "░" not in came and "confidence:" not in came
    t.type("/quit\r")
    assert t.end() == 0
