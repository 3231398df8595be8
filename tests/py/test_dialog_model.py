"""The dialogue model in demo/dialog-sdar: the goldens of its own evaluation, its accuracy, and a conversation."""
import json
import subprocess

import pytest

from program import CLI, ROOT, export, ids_text, run_json

FOLDER = ROOT / "demo" / "dialog-sdar"
GOLDEN = json.loads((FOLDER / "eval" / "golden.json").read_text())
HELD_OUT = [json.loads(line) for line in (FOLDER / "eval" / "heldout.jsonl").read_text().splitlines()]
RULES = {"static_1": ["--strategy", "low_confidence_static"],
         "dynamic_0.9": ["--strategy", "low_confidence_dynamic", "--confidence-threshold", "0.9"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialog")
    return {q: export(FOLDER, folder / f"{q}.pte", q) for q in ("none", "int8-dynamic")}


def reference(weights, **rule):
    """Exact answers among all held-out dialogues in the model's own evaluation."""
    results = json.loads((FOLDER / "eval" / "results.json").read_text())
    return next(r["exact"] for r in results if r["weights"] == weights and all(r.get(k) == v for k, v in rule.items())
                and "order" not in r)


@pytest.mark.parametrize("rule", RULES)
def test_goldens(files, rule):
    """As published: ids and numbers of passes of every recorded dialogue."""
    common = ["--algorithm", "sdar.generate", "--gen-length", GOLDEN["gen_length"], "--block-length", GOLDEN["block_length"],
              "--denoising-steps", GOLDEN["denoising_steps"], "--stop-ids", ids_text(GOLDEN["stop_ids"])]
    for case in GOLDEN["dialogues"]:
        got = run_json("generate", files["none"], "--token-ids", ids_text(case["prompt_ids"]), *common, *RULES[rule])
        want = case[rule]
        new = got["output_ids"][len(case["prompt_ids"]):]
        assert new[:len(want["output_ids"])] == want["output_ids"], case["index"]
        assert got["num_forwards"] == want["num_forwards"], case["index"]


@pytest.mark.parametrize("quantization, weights", [("none", "fp32"), ("int8-dynamic", "int8")])
def test_accuracy_is_that_of_the_card(files, quantization, weights):
    """300 of the 1000 held-out dialogues: within three points of the card, which is two standard errors."""
    got = run_json("eval", files[quantization], FOLDER / "eval" / "heldout.jsonl", "--count", 300,
                   "--strategy", "low_confidence_static")
    assert got["questions"] == 300
    assert abs(got["right"] / 300 - reference(weights, per_step=1)) < 0.03, got


def test_a_prompt_of_the_template_is_the_golden_prompt(files):
    from diffulex_edge import Tokenizer
    with Tokenizer.from_folder(FOLDER) as tokenizer:
        for case in GOLDEN["dialogues"]:
            assert tokenizer.apply_chat_template(HELD_OUT[case["index"]]["messages"]) == case["prompt_ids"]


def test_chat_answers(files):
    """Whole conversations typed turn by turn: the answers the program checks, most of them, with the cache reused."""
    talks = [d for d in HELD_OUT if len(d["messages"]) == 3][:20]
    right = 0
    for d in talks:
        questions = [m["content"] for m in d["messages"] if m["role"] == "user"]
        done = subprocess.run([CLI, "chat", files["int8-dynamic"], "--max-new-tokens", "48", "--stats"], capture_output=True,
                              input="".join(q + "\n" for q in questions), text=True, timeout=120)
        assert done.returncode == 0 and "of them cached" in done.stderr, done.stderr
        right += done.stdout.rstrip("\n").split("\n")[-1] == d["answer"]
    assert right >= 15, right
