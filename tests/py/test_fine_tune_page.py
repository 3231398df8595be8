"""docs/FINE_TUNE.md, step by step: its Python and its command lines, in their order, with the dialogue model as the base and
a small adapter in PEFT's layout."""
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from oracles import oracle
from program import CLI, ROOT

numpy = oracle("numpy", "the merged weights are")
torch = oracle("torch", "the page's merge is done")
safetensors = oracle("safetensors.torch", "the page's files are written")

PAGE = (ROOT / "docs" / "FINE_TUNE.md").read_text(encoding="utf-8")
BASE = ROOT / "demo" / "dialog-sdar"
RANK, ALPHA = 4, 8
TUNED = ("model.layers.0.self_attn.q_proj", "model.layers.5.mlp.down_proj")


def blocks(language):
    return [text for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S) if name == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """base/, adapter/ and held-out.jsonl; merged/ by the page's own code."""
    folder = tmp_path_factory.mktemp("tune")
    shutil.copytree(BASE, folder / "base", ignore=shutil.ignore_patterns("eval", "README.md"))
    weights = safetensors.load_file(BASE / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for module in TUNED:
        rows, columns = weights[f"{module}.weight"].shape
        for name, shape in (("lora_A", (RANK, columns)), ("lora_B", (rows, RANK))):
            tensors[f"base_model.model.{module}.{name}.weight"] = 0.01 * torch.randn(shape, generator=generator)
    norm = "model.norm.weight"
    tensors[f"base_model.model.{norm}"] = weights[norm].float() * 1.0625
    (folder / "adapter").mkdir()
    safetensors.save_file(tensors, folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"lora_alpha": ALPHA, "r": RANK, "peft_type": "LORA"}))
    lines = (BASE / "eval" / "heldout.jsonl").read_text().splitlines()[:40]
    (folder / "held-out.jsonl").write_text("\n".join(lines) + "\n")
    python, = blocks("python")
    done = subprocess.run([sys.executable, "-c", python], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "merged 5 tensors\n"), done.stderr
    return folder


def test_merged_weights(folder):
    before, after = (safetensors.load_file(folder / d / "model.safetensors") for d in ("base", "merged"))
    adapter = safetensors.load_file(folder / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{m}.weight" for m in TUNED} | {"model.norm.weight"}
    for module in TUNED:
        a, b = (adapter[f"base_model.model.{module}.lora_{x}.weight"].double() for x in "AB")
        want = before[f"{module}.weight"].double() + ALPHA / RANK * (b @ a)
        assert torch.allclose(after[f"{module}.weight"].double(), want, rtol=2**-8, atol=1e-6)


def test_an_adapter_of_another_base_is_noticed(folder, tmp_path):
    shutil.copytree(folder / "base", tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    shutil.copy(folder / "adapter" / "adapter_config.json", tmp_path / "adapter")
    name = "base_model.model.model.layers.77.mlp.up_proj.lora_A.weight"
    safetensors.save_file({name: torch.zeros(RANK, 8)}, tmp_path / "adapter" / "adapter_model.safetensors")
    done = subprocess.run([sys.executable, "-c", blocks("python")[0]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "the base has no place for" in done.stderr


def test_every_command_of_the_page(folder):
    out = {}
    lines = [line for block in blocks("") for line in block.splitlines()]
    assert len(lines) == 9 and all(line.startswith("diffulex-edge ") for line in lines)
    for line in lines:
        done = subprocess.run([CLI, *shlex.split(line)[1:]], cwd=folder, capture_output=True, text=True,
                              input="What is 347 + 285?\n", timeout=300)
        assert done.returncode == 0, (line, done.stderr)
        out[line] = done.stdout
    ids = json.loads(next(v for k, v in out.items() if " tokenize " in k))
    assert 541 in (ids["ids"] if isinstance(ids, dict) else ids)  # <|im_end|>
    # A small adapter leaves most answers as they were: the base has 94 % right.
    for name in ("exact.pte", "tuned.pte"):
        right, asked = map(int, re.search(r"(\d+) of (\d+)", out[f"diffulex-edge eval {name} held-out.jsonl"]).groups())
        assert asked == 40 and right >= 30
    assert safetensors.load_file(folder / "logits.safetensors")["logits"].shape == (4, 576)
