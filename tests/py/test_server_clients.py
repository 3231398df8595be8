"""The server and the stock clients that are too large for every run: lm-eval and litellm. DLX_CLIENTS names a Python that has
them (tests/requirements-clients.txt)."""
import json
import os
import subprocess

import pytest

import server as S
from program import ROOT

S.require()
if not os.environ.get("DLX_CLIENTS"):
    pytest.skip("DLX_CLIENTS names no Python with lm-eval and litellm: both against the server NOT checked", allow_module_level=True)
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
doc_to_text: "{text}"
{more}
metadata:
  version: 1
"""
GENERATE = """doc_to_target: "{{answer}}"
output_type: generate_until
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 24
  temperature: 0
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true"""
CHOOSE = """doc_to_target: 0
doc_to_choice: ["{{answer}}", "nothing"]
output_type: multiple_choice
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S.serving(S.export_all(tmp_path_factory.mktemp("clients"), ["dialog"])["dialog"], "--rows", 64) as s:
        yield s


def run(*args, folder):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf"),
                   "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": ""}
    return subprocess.run([os.environ["DLX_CLIENTS"], *map(str, args)], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=600)


def evaluate(server, folder, model, path, more, task, text="Spell {{word}}.", *options):
    """lm_eval of five words; what it printed, and the scores of the task."""
    words = "pear plum fig kiwi melon".split()
    data = folder / "words.jsonl"
    data.write_text("".join(json.dumps({"word": w, "answer": "-".join(w)}) + "\n" for w in words))
    (folder / "words.yaml").write_text(TASK.format(name="words", data=data, text=text, more=task))
    done = run("-m", "lm_eval", "--model", model, "--model_args",
               f"model=dialog,base_url={server.url}{path},num_concurrent=4,max_retries=1,{more}",
               "--tasks", "words", "--include_path", folder, "--output_path", folder / "out", *options, folder=folder)
    results = [json.loads(file.read_text())["results"]["words"] for file in (folder / "out").rglob("results_*.json")]
    return done, results[0] if results else None


def test_lm_eval_chat(server, tmp_path):
    done, scores = evaluate(server, tmp_path, "local-chat-completions", "/v1/chat/completions", "tokenized_requests=False",
                            GENERATE, "Spell {{word}}.", "--apply_chat_template")
    assert done.returncode == 0 and scores["exact_match,none"] == 1, done.stderr


def test_lm_eval_completions(server, tmp_path):
    """The prompt is the whole conversation as the template writes it; special tokens are text to this endpoint, so the model
    is asked by the ids of a tokenizer."""
    tokenizer = f"tokenizer={ROOT / 'demo' / 'dialog-sdar'},tokenizer_backend=huggingface"
    done, scores = evaluate(server, tmp_path, "local-completions", "/v1/completions", tokenizer, GENERATE,
                            "Spell {{word}}.", "--apply_chat_template")
    assert done.returncode == 0 and scores["exact_match,none"] == 1, done.stderr
    done, scores = evaluate(server, tmp_path, "local-completions", "/v1/completions", "tokenizer_backend=None,tokenized_requests=False",
                            GENERATE)
    assert done.returncode == 0, done.stderr


def test_lm_eval_is_told_why_there_is_no_loglikelihood(server, tmp_path):
    tokenizer = f"tokenizer={ROOT / 'demo' / 'dialog-sdar'},tokenizer_backend=huggingface"
    done, scores = evaluate(server, tmp_path, "local-completions", "/v1/completions", tokenizer, CHOOSE)
    assert done.returncode != 0 and scores is None and "so there is no loglikelihood of a text either" in done.stderr


def test_litellm(server, tmp_path):
    done = run(ROOT / "tests" / "py" / "litellm_program.py", server.url, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["whole"] == ["p-e-a-r", "stop", 7] and got["stream"] == ["p-e-a-r", 7] and got["together"] == ["p-e-a-r"] * 4
    assert got["responses"] == "p-e-a-r" and got["tools"] in ("stop", "tool_calls", "length") and got["call"] == "weather"
    assert got["text"] == server.post("/v1/completions", {"prompt": "Spell", "max_tokens": 5})["choices"][0]["text"]
    assert got["errors"]["penalty"][0] == "BadRequestError" and "'presence_penalty': only 0" in got["errors"]["penalty"][1]
    bound = {name: json.loads(text) for name, text in got["structured"].items()}
    assert isinstance(bound.pop("object"), dict) and set(bound) == {"schema", "class", "stream", "responses"}
    for city in bound.values():
        assert city["name"] in ("Rome", "Bonn") and 1 <= city["days"] <= 9 and set(city) == {"name", "days"}
    # What falls back to a model with a longer context looks for this one.
    assert got["errors"]["long"][0] == "ContextWindowExceededError"
    assert got["errors"]["tool"][0] == "BadRequestError" and "tool_choice" in got["errors"]["tool"][1]
