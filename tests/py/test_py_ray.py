"""What an actor of diffulex_edge.ray does with its batches, without Ray; test_ray_cluster.py has a cluster."""
import pytest
from exported_files import exported  # noqa: F401 - a fixture
from oracles import oracle

from diffulex_edge import InvalidArgumentError, Model
from diffulex_edge.ray import Generate, generate_dataset, local_file

np = oracle("numpy", "batches of Ray Data are")
OPTIONS = dict(max_new_tokens=12, temperature=2.0, stop_ids="none")
NEW = ("answer", "finish_reason", "new_tokens", "error")


@pytest.fixture(scope="module")
def path(exported):
    return exported("sdar-tiny")


@pytest.fixture(scope="module")
def generate(path):
    return Generate(path, key="id", chat=False, parallel=3, seed=5, **OPTIONS)


def batch_of(prompts, first=0):
    return {"id": np.arange(first, first + len(prompts)), "prompt": np.array(prompts, dtype=object)}


PROMPTS = [f"count to {i % 3}" for i in range(7)]


def test_rows_have_the_same_answers_in_every_batch(generate, path):
    """Whatever they come with and wherever: seeds are the rows' own."""
    batch = batch_of(PROMPTS)
    whole = generate(batch)
    assert whole["id"] is batch["id"] and set(whole) == {"id", "prompt", *NEW}
    assert whole["error"] == [None] * 7 and len(set(whole["answer"])) > 3 and all(n > 0 for n in whole["new_tokens"])
    other = Generate(str(path), key="id", chat=False, parallel=1, seed=5, threads=2, **OPTIONS)
    for i in range(7):
        alone = other(batch_of(PROMPTS[i:i + 1], i))
        assert [alone[name][0] for name in NEW] == [whole[name][i] for name in NEW]
    assert Generate(path, key="id", chat=False, seed=6, **OPTIONS)(batch)["answer"] != whole["answer"]
    # Without a key, equal prompts draw equally.
    answers = Generate(path, chat=False, seed=5, **OPTIONS)(batch)["answer"]
    assert answers[0] == answers[3] == answers[6] and len(set(answers)) == 3


def test_greedy_answers_are_those_of_the_model(path):
    got = Generate(path, chat=False, max_new_tokens=9, prefix="their_")({"prompt": PROMPTS[:3], "answer": [1, 2, 3]})
    with Model(path) as model:
        assert got["their_answer"] == [str(c) for c in model.generate(PROMPTS[:3], chat=False, max_new_tokens=9)]
        ids = [model.prompt_ids(p, chat=False) for p in PROMPTS[:3]]
        assert Generate(path, max_new_tokens=9)({"ids": [np.array(i) for i in ids]})["answer"] == got["their_answer"]
    assert got["answer"] == [1, 2, 3]


def test_messages_lose_what_other_rows_brought(path):
    """A table gives every message the keys of all."""
    generate = Generate(path, column="talk", max_new_tokens=5)
    plain = [{"role": "user", "content": "hello"}]
    wide = [{"role": "user", "content": "hello", "tool_calls": None, "name": None}]
    got = generate({"talk": np.array([plain, wide], dtype=object)})
    assert got["error"] == [None, None] and got["answer"][0] == got["answer"][1]


def test_a_prompt_that_fails_is_a_row(generate):
    got = generate(batch_of(["hello", "x " * 5000, "hello"]))
    assert got["answer"][1] is None and got["finish_reason"][1] is None and "context" in got["error"][1]
    assert got["error"][0] is None and got["answer"][0] is not None
    assert generate({"id": [0], "prompt": [3.5]})["error"][0]
    assert generate({"id": np.array([]), "prompt": []})["answer"] == []


def test_mistakes(generate, path):
    with pytest.raises(ValueError, match="columns text, other; column="):
        Generate(path)({"text": ["a"], "other": [1]})
    with pytest.raises(ValueError, match="columns prompt, ids; column="):
        Generate(path)({"prompt": ["a"], "ids": [[1]]})
    with pytest.raises(ValueError, match="no column 'id'; key="):
        generate({"prompt": ["a"]})
    with pytest.raises(ValueError, match="a column 'error' already; prefix="):
        generate({"id": [1], "prompt": ["a"], "error": [1]})
    with pytest.raises(InvalidArgumentError, match="tempersture"):
        Generate(path, tempersture=1)
    with pytest.raises(FileNotFoundError):
        Generate("/nonexistent.pte")
    with pytest.raises(ValueError, match="batch_size is 0"):
        Generate(path, parallel=0)
    for wrong in (dict(batch_size=0), dict(parallel=0), dict(concurrency=0), dict(threads=0), dict(max_retries=-1), dict(stop=[""])):
        with pytest.raises(ValueError):
            generate_dataset(None, path, **wrong)
    assert local_file(path) == str(path)
