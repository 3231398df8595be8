"""Questions for the trained models of this repository that are not in their held-out files, drawn by the generators that
made those: from the held-out side of the split, to choose thresholds on, and from the training side, to calibrate with."""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo" / "train"))


def prompt_of(item):
    return json.dumps(item.get("messages") or item["prompt"])


def dialogues(seed, count, heldout, without):
    from dialog import tasks
    total = sum(tasks.QUOTA.values())
    quota = {task: -(-n * count // total) for task, n in tasks.QUOTA.items()}
    return tasks.questions(seed, heldout, quota, without)[:count]


def puzzles(seed, count, heldout, without):
    from sudoku6 import data
    found, seen = [], set(without)
    while len(found) < count:
        for puzzle, solution in zip(*data.questions(seed, count, heldout)):
            item = {"prompt": data.INSTRUCTION + data.to_text(puzzle), "answer": data.to_text(solution)}
            if prompt_of(item) not in seen:
                seen.add(prompt_of(item))
                found.append(item)
        seed += 100
    return found[:count]


GENERATORS = {"dialog-sdar": dialogues, "sudoku6-llada": puzzles}


def write(path, model, heldout_file, seed, count, heldout):
    """`count` new questions for `model` as lines of JSON, none of them in its held-out file."""
    without = {prompt_of(json.loads(line)) for line in Path(heldout_file).read_text(encoding="utf-8").splitlines()}
    items = GENERATORS[model](seed, count, heldout, without)
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
