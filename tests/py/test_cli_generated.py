"""The manual page and the completions that the program writes about itself: every option of every command is in each, the
tools that check such files have nothing to say, and the shells offer what the tables have."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from program import CLI, fail, run

SHELLS = ("bash", "zsh", "fish")
SCHEMES = ("int8-dynamic", "int8-static", "int8-weight-only", "int4", "int4-g32", "int4-g64", "int4-g128",
           "int4-weight-only", "int4-g32-weight-only", "int4-g64-weight-only", "int4-g128-weight-only", "a16w8", "a16w4",
           "a16w4-g32", "fp16", "bf16", "none")
ROW = re.compile(r"^  --([a-z0-9-]+)", re.M)


def commands():
    return re.findall(r"^  ([a-z]+) ", run("--help").partition("\ncommands\n")[2].partition("\noptions\n")[0], re.M)


def options(command):
    """Names that --help lists, those of the command itself and decode options."""
    own, _, decode = run(command, "--help").partition("\ndecode options")
    names, below = ROW.findall(own), ROW.findall(decode)
    if "\noptions to begin with\n" in own:         # the table's decode options among them belong to the others
        every = set(re.findall(r"^--([a-z0-9-]+)", plain(run("help", "--man")).partition(".SH DECODE OPTIONS\n")[2], re.M))
        below += [name for name in names if name in every]
        names = [name for name in names if name not in every]
    return names, below


def plain(troff):
    return troff.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-")


def needs(tool):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")


# ---- completeness ----------------------------------------------------------------------------------------------------

def test_commands_are_known():
    assert {"export", "generate", "doctor"} <= set(commands())


@pytest.mark.parametrize("command", commands())
def test_the_manual_has_every_option(command):
    text = plain(run("help", "--man"))
    section = re.search(rf"^\.SS {command}\n(.*?)(?=^\.S[SH] )", text, re.M | re.S)[1]
    own, decode = options(command)
    assert own and own[-1] == "help"
    for name in own[:-1]:
        assert re.search(rf"^--{name}( |$)", section, re.M), name
    below = text.partition(".SH DECODE OPTIONS\n")[2]
    for name in decode:
        assert re.search(rf"^--{name}( |$)", below, re.M), name
    assert ("decode options" in section) == bool(decode)


@pytest.mark.parametrize("command", commands())
def test_the_completions_have_every_option(command):
    own, decode = options(command)
    bash = run("help", "--completion", "bash")
    line = re.findall(rf'^ +{command}\) words="(.*)" ;;$', bash, re.M)[-1].split()
    zsh = re.search(rf"^ +{command}\) _arguments (.*?) ;;$", run("help", "--completion", "zsh"), re.M | re.S)[1]
    fish = re.findall(rf"^complete -c diffulex-edge -n '__fish_seen_subcommand_from {command}' -l (\S+) ",
                      run("help", "--completion", "fish"), re.M)
    assert len(fish) == len(set(fish))
    for name in own + decode:
        assert f"--{name}" in line, name
        assert re.search(rf"'\*?--{name}=?\[", zsh), name
        assert name in fish, name
    flags = [name for name in fish if name.startswith("no-")]
    assert {f"--{name}" for name in flags} <= set(line)
    assert set(fish) == {word[2:] for word in line}


def test_words_of_values():
    bash = run("help", "--completion", "bash")
    assert 'export:--quantization) words="%s" ;;' % " ".join(SCHEMES) in bash
    assert 'export:--model-type) words="llada dream sdar fast_dllm_v2" ;;' in bash
    assert 'generate:--kv-cache) words="float32 float16 int8" ;;' in bash
    assert 'generate:--preset) words="exact balanced fast" ;;' in bash
    assert re.search(r'generate:--cpu\) words="auto ref ', bash)
    assert "one of exact, balanced, fast" in " ".join(plain(run("help", "--man")).split())


def test_wrong_words():
    for words in (("--completion",), ("--completion", "tcsh"), ("--man", "page"), ("--completion", "bash", "zsh")):
        assert "help --man, or help --completion bash, zsh or fish" in fail("help", *words, status=2)


# ---- tools and shells ------------------------------------------------------------------------------------------------

def test_groff_has_nothing_to_say():
    needs("groff")
    for device in ("utf8", "ascii"):
        done = subprocess.run(["groff", "-man", "-ww", f"-T{device}"], input=run("help", "--man"), capture_output=True,
                              text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "DECODE OPTIONS" in re.sub("\x1b\\[[0-9;]*m|.\b", "", done.stdout)


def test_mandoc_has_nothing_to_say():
    needs("mandoc")
    done = subprocess.run(["mandoc", "-Tlint", "-Wstyle"], input=run("help", "--man"), capture_output=True, text=True)
    # A date would make two builds of one source different.
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_parses_it(shell, tmp_path):
    needs(shell)
    script = tmp_path / "script"
    script.write_text(run("help", "--completion", shell))
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_diffulex_edge
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(tmp_path, *words):
    script = tmp_path / "script"
    script.write_text(run("help", "--completion", "bash"))
    done = subprocess.run(["bash", "--norc", "-c", BASH, "bash", str(script), "diffulex-edge", *words],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash(tmp_path):
    needs("bash")
    (tmp_path / "model.pte").write_text("")
    (tmp_path / "checkpoint").mkdir()
    assert in_bash(tmp_path, "gen") == ["generate"]
    assert in_bash(tmp_path, "help", "d") == ["detokenize", "doctor"]
    assert in_bash(tmp_path, "he") == ["help"] and {"help", "chat", "--version"} < set(in_bash(tmp_path, ""))
    assert in_bash(tmp_path, "help", "chat", "") == []
    assert in_bash(tmp_path, "export", "--quant") == ["--quantization", "--quantization-config"]
    assert in_bash(tmp_path, "export", "--quantization", "") == list(SCHEMES)
    assert in_bash(tmp_path, "export", "--quantization", "=", "int8-d") == ["int8-dynamic"]
    assert in_bash(tmp_path, "export", "--quantization", "=") == list(SCHEMES)
    assert in_bash(tmp_path, "export", "--hf-model-path", "c") == ["checkpoint"]
    assert in_bash(tmp_path, "generate", "mo") == ["model.pte"]
    assert in_bash(tmp_path, "generate", "--max-new-tokens", "1") == []
    assert in_bash(tmp_path, "generate", "--no-str") == ["--no-stream"]
    assert in_bash(tmp_path, "generate", "model.pte", "--block-l") == ["--block-length"]


def test_fish(tmp_path):
    needs("fish")
    script = tmp_path / "script"
    script.write_text(run("help", "--completion", "fish"))

    def offers(line):
        done = subprocess.run(["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"], cwd=tmp_path,
                              capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
        assert done.stderr == ""
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert offers("diffulex-edge gen") == ["generate"] and offers("diffulex-edge he") == ["help"]
    assert offers("diffulex-edge help d") == ["detokenize", "doctor"]
    assert sorted(offers("diffulex-edge export --quant")) == ["--quantization", "--quantization-config"]
    assert sorted(offers("diffulex-edge export --quantization ")) == sorted(SCHEMES)
    assert offers("diffulex-edge generate model.pte --block-le") == ["--block-length"]


def test_zsh(tmp_path):
    needs("zsh")
    (tmp_path / "_diffulex-edge").write_text(run("help", "--completion", "zsh"))
    (tmp_path / ".zshrc").write_text(
        f"fpath=({tmp_path} $fpath)\nautoload -Uz compinit && compinit -u -d {tmp_path}/dump\nPS1='ready> '\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(ZDOTDIR=str(tmp_path), HOME=str(tmp_path), TERM="xterm", LC_ALL="C.UTF-8")
        os.chdir(tmp_path)
        os.execvp("zsh", ["zsh", "--no-globalrcs", "-i"])
    seen = ""

    def until(pattern):
        nonlocal seen
        deadline = time.monotonic() + 60
        while not re.search(pattern, re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", seen)):
            assert time.monotonic() < deadline and select.select([terminal], [], [], 60)[0], seen
            seen += os.read(terminal, 65536).decode("utf-8", "replace")

    def type_in(text):
        nonlocal seen
        seen = ""
        os.write(terminal, text.encode())

    try:
        until("ready> ")
        type_in("diffulex-edge export --max-s\t")
        until("max-seq-len=")
        type_in("\x15diffulex-edge export --quantization=int8-d\t")
        until("int8-dynamic")
        type_in("\x15diffulex-edge gen\t")
        until("generate ")
        type_in("--preset fa\t")
        until("fast")
        type_in("\x15diffulex-edge tok\t")
        until("tokenize ")
        type_in("\x15diffulex-edge he\t")
        until("help ")
        type_in("inf\t")
        until("infill")
        type_in("\x15exit\n")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def test_installed(tmp_path):
    """What `cmake --install` puts in place is what the program says now."""
    build = os.environ.get("DLX_BUILD_DIR", os.path.dirname(os.path.dirname(CLI)))
    if not os.path.exists(os.path.join(build, "cmake_install.cmake")):
        pytest.skip("needs the build tree")
    subprocess.run(["cmake", "--install", build, "--prefix", str(tmp_path)], check=True, capture_output=True)
    share = tmp_path / "share"
    assert (share / "man/man1/diffulex-edge.1").read_text() == run("help", "--man")
    for shell, place in (("bash", "bash-completion/completions/diffulex-edge"),
                         ("zsh", "zsh/site-functions/_diffulex-edge"),
                         ("fish", "fish/vendor_completions.d/diffulex-edge.fish")):
        assert (share / place).read_text() == run("help", "--completion", shell)
