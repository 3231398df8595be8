"""diffulex-edge bench: what its table and its JSON say, for each family and scheme. Times are whatever they are: what
is tested is what goes together, what is refused, and what an interruption leaves."""
import json
import re
import signal
import subprocess
import time

import diffulex_edge
import pytest

from program import CLI, DATA, ROOT, export, fail, on_terminal, run, run_json

DIALOG = ROOT / "demo" / "dialog-sdar"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")

    def program(model, scheme="int8-dynamic", *more):
        path = folder / f"{model}-{scheme}-{'-'.join(more)}.pte"
        if not path.exists():
            export(DIALOG if model == "dialog" else DATA / "checkpoints" / model, path, scheme, "--max-seq-len", "64", *more)
        return path
    return program


def bench(path, *more):
    return run_json("bench", path, "--turns", "2", *more)


def check(d, turns=2):
    assert [p["turns"] for p in d["passes"]] == [turns] * len(d["passes"])
    measured = bool(d["probes"])
    assert all((value is not None) == measured for value in d["limits"].values())
    for p in d["passes"]:
        assert 0 < p["least_ms"] <= p["ms"] <= p["most_ms"] and p["without_logits_ms"] > 0
        assert p["bytes"] == d["passes"][0]["bytes"] >= d["memory"]["packed"] > 0
        if not measured:
            assert p["percent_of_reading"] is p["percent_of_arithmetic"] is None
            continue
        # What a percentage is of: bytes against reading; operations of each kind against its own limit.
        assert p["percent_of_reading"] == pytest.approx(100 * p["bytes"] / d["limits"]["read"] / p["ms"] * 1e3, rel=2e-3)
        ideal = sum(p[f"{kind}_operations"] / d["limits"][kind] for kind in ("int8", "int4", "float32"))
        assert p["percent_of_arithmetic"] == pytest.approx(100 * ideal / p["ms"] * 1e3, rel=2e-3)
    memory = d["memory"]
    assert memory["total"] == sum(memory[k] for k in ("file", "packed", "kv_cache", "activations", "program"))
    assert memory["peak_resident"] > memory["packed"]
    assert d["load_ms"] > 0 and d["interrupted"] is False


@pytest.mark.parametrize("model", ["llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny"])
def test_families(programs, model):
    d = bench(programs(model), "--plan", "--no-probes")
    check(d)
    assert [p["rows"] for p in d["passes"]] == [1, 2, 4, 8, 16, 32] and d["context"] == 32
    assert [row["preset"] for row in d["decodes"]] == ["exact", "balanced", "fast"]
    assert d["measured_decodes"] is False and d["tokens_per_pass"] == [1, 2.2, 4]
    for row in d["decodes"]:
        assert row["algorithm"].startswith(d["family"]) and row["new_tokens"] == 32
        assert row["passes"] >= 31 and row["decode_ms"] > 0
        assert sorted(row["tokens_per_second"]) == row["tokens_per_second"]    # more tokens a pass are never slower
    # A block that attention was trained with stays; a small block, or a block that nobody knows of, may be another.
    tried = d["plan"]["tried"]
    if model == "sdar-tiny":
        assert [row["preset"] for row in tried] == ["exact", "balanced", "fast"]
    elif model == "fast_dllm_v2-tiny":
        assert {row["block_length"] for row in tried} == {32}
        assert {row["small_block_size"] for row in tried} == {4, 8, 16, 32}
    else:
        assert {4, 8, 16, 32} <= {row["block_length"] for row in tried if row["preset"] == "fast"}
    best = max(tried, key=lambda row: row["tokens_per_second"][1])
    assert d["plan"]["tokens_per_second"] == best["tokens_per_second"][1] and d["plan"]["tokens_per_pass"] == 2.2


@pytest.mark.parametrize("scheme", ["none", "bf16", "int8-weight-only", "int4-g32"])
def test_schemes(programs, scheme):
    d = bench(programs("llada-tiny", scheme), "--rows", "1,3", "--context", "0", "--kv-cache", "float16")
    check(d)
    assert [p["rows"] for p in d["passes"]] == [1, 3] and d["context"] == 0 and d["kv_cache"] == "float16"
    assert (d["passes"][0]["int4_operations"] > 0) == scheme.startswith("int4")
    assert (d["passes"][0]["int8_operations"] > 0) == scheme.startswith("int4")     # its head


def test_file_of_several_methods(programs):
    path = programs("fast_dllm_v2-tiny", "int8-dynamic", "--method-rows", "8,32")
    check(bench(path, "--no-probes"))


def test_kernel_sets_and_threads(programs):
    path = programs("llada-tiny")
    for word in ("ref", "auto"):
        d = bench(path, "--no-probes", "--cpu", word, "--threads", "1", "--rows", "1")
        assert d["threads"] == 1 and (d["kernels"] == "ref") == (word == "ref")


def test_a_prompt_is_decoded(programs):
    d = bench(programs("dialog"), "Hello", "--no-probes", "--rows", "8", "--plan", "--max-new-tokens", "16")
    assert d["measured_decodes"] is True and "tokens_per_pass" not in d
    for row in d["decodes"]:
        said = run_json("generate", programs("dialog"), "Hello", "--preset", row["preset"], "--max-new-tokens", "16")
        assert row["new_tokens"] == said["statistics"]["new_tokens"]
        assert row["passes"] == said["statistics"]["passes"] - said["statistics"]["prefill_passes"]
        assert row["algorithm"] == said["algorithm"] and len(row["tokens_per_second"]) == 1
    assert d["plan"]["preset"] in ("exact", "balanced", "fast")
    ids = bench(programs("dialog"), "--token-ids", "1,2,3", "--no-probes", "--rows", "1", "--preset", "fast")
    assert [row["preset"] for row in ids["decodes"]] == ["given"]


def test_options_that_one_preset_does_not_know_are_said_in_its_row(programs):
    exact, *others = bench(programs("llada-tiny"), "--no-probes", "--rows", "1", "--cache", "dual")["decodes"]
    assert "llada.generate does not have it" in exact["problem"] and "tokens_per_second" not in exact
    assert all("problem" not in row and row["tokens_per_second"] for row in others)


def test_what_leaves_nothing_to_decode_is_told_before_weights_are_read(programs, tmp_path):
    packs = tmp_path / "packs"        # loading makes it
    other = "llada.generate is for full attention"
    for model, options, words in (
            ("sdar-tiny", ["--algorithm", "llada.generate"], other),
            ("sdar-tiny", ["--algorithm", "llada.generate", "--token-ids", "1,2"], other),
            ("llada-tiny", ["--max-new-tokens", "33"], "no decode begins behind a context of 32: option 'max_new_tokens'"),
            ("llada-tiny", ["--max-new-tokens", "64", "--token-ids", "1"], "at most 63 new tokens"),
            ("llada-tiny", ["--token-ids", ",".join(["1"] * 100)], "the prompt has 100 tokens"),
            ("llada-tiny", ["--steps", "3", "--gen-length", "16", "--block-length", "4"], "option 'steps'"),
            ("llada-tiny", ["--context", "64"], "leave no room for a row"),
            ("llada-tiny", ["--rows", "33"], "33 rows behind 32 cached positions")):
        assert words in fail("bench", programs(model), "--pack-cache", packs, *options)
        assert not packs.exists()
    run("bench", programs("llada-tiny"), "--pack-cache", packs, "--max-new-tokens", "32", "--turns", "1", "--no-probes")
    assert packs.exists()


def test_a_plan_names_the_number_that_it_goes_by(programs):
    def said(*options):
        return run("bench", programs("sdar-tiny"), "--plan", "--turns", "1", "--no-probes", "--rows", "1", *options)
    assert "if every denoising pass revealed 2.2 tokens, whatever" in said()
    assert "if every denoising pass revealed 1 token, whatever" in said("--tokens-per-pass", "1")
    text = said("--tokens-per-pass", "1,1000,1024")
    assert "if every denoising pass revealed 1000 tokens, whatever" in text
    assert len(re.findall(r" block +1 +1000 +1024$", text, re.M)) == 2


def test_what_was_not_measured_is_called_guessed(programs):
    def guessed(*options):
        return [row["guessed"] for row in bench(programs("llada-tiny"), "--no-probes", *options)["decodes"]]

    def said(*options):
        return re.findall("^  guessed: (.*)$", run("bench", programs("llada-tiny"), "--no-probes", "--turns", "1", *options),
                          re.M)
    whole = ["--context", "0"]        # so that passes of the whole file are measured, too
    assert guessed(*whole) == [False] * 3 and said(*whole) == []
    assert guessed("--rows", "1,2,4,8,16,32,64", *whole) == [False] * 3
    assert guessed("--rows", "1,2,4,8,16,64", *whole) == guessed("--rows", "2,4,8,16,32,64", *whole) == [True] * 3
    assert said("--rows", "1,64", *whole) == ["few sizes of passes were measured, decodes have up to 64 rows"]
    assert said("--rows", "1", *whole) == ["passes of more than 1 row, decodes have up to 64"]
    assert said() == ["passes of more than 32 rows, decodes have up to 64"]
    small = ["--preset", "balanced", "--max-new-tokens", "4", *whole]       # gaps above what a decode has are none
    assert guessed("--rows", "1,2,4,8,64", *small) == [False]
    measured = bench(programs("llada-tiny"), "--token-ids", "1,2", "--rows", "1", "--no-probes", "--preset", "fast")
    assert "guessed" not in measured["decodes"][0]


def test_table(programs):
    text = run("bench", programs("llada-tiny"), "--turns", "2", "--plan")
    assert "one pass behind 32 cached positions" in text and "this machine favours --preset" in text
    rows = re.findall(r"^ +(\d+) +[\d.]+ +[\d.]+ +[\d.]+ +2 ", text, re.M)
    assert rows == ["1", "2", "4", "8", "16", "32"]
    assert "\033" not in text
    status, screen = on_terminal("bench", programs("llada-tiny"), "--turns", "2")
    assert status == 0 and "\033[1m" in screen
    plain = re.sub(r"\033\[[0-9;]*[mK]", "", screen)
    table = plain[plain.index("one pass behind"):]
    assert all(len(line) < 80 for line in table.splitlines())
    without = run("bench", programs("llada-tiny"), "--turns", "1", "--no-probes")
    assert "warming up" not in without and "memory is read" not in without      # progress is for terminals
    assert re.search(r"^ +8 .* - +-$", without, re.M)


def test_interrupted(programs):
    process = subprocess.Popen([CLI, "bench", programs("dialog"), "--turns", "1000", "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130
    d = json.loads(out)
    assert d["interrupted"] is True and all(p["turns"] < 1000 for p in d["passes"])
    assert error == "" or "interrupted" in error


def test_what_cannot_be_run(programs, tmp_path):
    path = programs("llada-tiny")
    assert "--rows: expected" in fail("bench", path, "--rows", "4,1", status=2)
    assert "--rows: expected" in fail("bench", path, "--rows", "a", status=2)
    assert "--tokens-per-pass" in fail("bench", path, "--tokens-per-pass", "0.5", status=2)
    assert "--tokens-per-pass" in fail("bench", path, "--tokens-per-pass", "1,", status=2)
    assert "a prompt measures it" in fail("bench", path, "--token-ids", "1", "--tokens-per-pass", "2", status=2)
    assert "leave no room for a row" in fail("bench", path, "--context", "64")
    assert "65 rows" in fail("bench", path, "--context", "0", "--rows", "65")
    for name, options, words in (("coreml", ["fp16", "--backend", "coreml"], "this runtime executes XnnpackBackend only"),
                                 ("fixed", ["none", "--kv", "fixed"], "its shapes never vary")):
        fixed = tmp_path / f"{name}.pte"
        export(DATA / "checkpoints" / "llada-tiny", fixed, *options, "--max-seq-len", "64")
        assert words in fail("bench", fixed)
    assert "expected forward(" in fail("bench", DATA / "foreign" / "arithmetic.pte")
    assert "is not an ExecuTorch program" in fail("bench", DATA / "foreign" / "README.md")


def test_python(programs):
    d = diffulex_edge
    found = d.probes(threads=2, kinds=["int8", "float32"])
    assert {p.kind for p in found} <= {"int8", "float32"}
    assert all(p.per_second is None or p.per_second > 1e6 for p in found)
    assert {p.kind for p in d.probes(1, ["read"])} == {"read"}
    with d.Model(programs("llada-tiny"), threads=2) as model:
        asked = []
        with d.Bench(model, rows=[1, 8], context=16, turns=3, on_pass=lambda rows, turn: asked.append((rows, turn))) as b:
            assert asked == [(16, 0), (1, 0), (8, 0)] + [(rows, turn) for turn in (1, 2, 3) for rows in (1, 8)]
            assert (b.context, b.threads, b.cancelled, b.kernels) == (16, 2, False, model.kernels)
            assert [(p.rows, p.turns) for p in b.passes] == [(1, 3), (8, 3)]
            assert all(p.least_ms <= p.median_ms <= p.most_ms for p in b.passes)
            one, four = b.estimate(1, preset="fast"), b.estimate(4, preset="fast")
            assert one.new_tokens == four.new_tokens == 48 and one.passes == 48 and four.passes == 12
            assert four.tokens_per_second > one.tokens_per_second > 0
            with pytest.raises(ValueError, match="expected 1 or more"):
                b.estimate(0.5)
            with pytest.raises(ValueError, match="cache"):
                b.estimate(1, algorithm="llada.generate", cache="dual")
        with d.Bench(model, rows=[1], context=0, turns=2, on_pass=lambda rows, turn: turn < 1) as b:
            assert b.cancelled and b.passes == []
            with pytest.raises(d.UnsupportedError, match="no pass was measured"):
                b.estimate(1)
        with pytest.raises(RuntimeError, match="from the callback"):
            def raises(rows, turn):
                raise RuntimeError("from the callback")
            d.Bench(model, on_pass=raises)
        with pytest.raises(d.LimitError, match="no room for a row"):
            d.Bench(model, context=64)
