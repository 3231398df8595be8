"""The same .pte in the official ExecuTorch runtime and in ours: golden logits, cached passes, agreement, and a file that
the official exporter wrote."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from oracles import oracle

torch = oracle("torch", "agreement with the official runtime is")
oracle("executorch.runtime", "agreement with the official runtime is")
from safetensors.torch import load_file  # noqa: E402

from layout_a import StockRuntime  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "data"
CLI = os.environ["DLX_CLI"]
BLOCK = {"sdar-tiny": 4, "fast_dllm_v2-tiny": 32}  # block-causal width of a model; the others see everything
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")


def run(*args):
    done = subprocess.run([CLI, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{(model, quantization): path of its .pte}"""
    folder = tmp_path_factory.mktemp("pte")
    out = {}
    for model in MODELS:
        for quantization in ("none", "int8-dynamic"):
            out[model, quantization] = folder / f"{model}-{quantization}.pte"
            run("export", "--hf-model-path", DATA / "checkpoints" / model, "--output-path", out[model, quantization],
                "--backend", "xnnpack", "--quantization", quantization, "--max-seq-len", "128")
    return out


def golden(model):
    return json.loads((DATA / "forward" / f"{model}.json").read_text()), load_file(DATA / "forward" / f"{model}.safetensors")


def stock_logits(path, ids, attention):
    stock = StockRuntime(path, 128)
    width = re.fullmatch(r"block_causal\((\d+)\)", attention)
    return stock.block_causal(ids, int(width[1])) if width else stock.forward(ids)


def native_logits(path, ids, attention, folder):
    width = re.fullmatch(r"block_causal\((\d+)\)", attention)
    run("logits", "--pte-path", path, "--token-ids", ",".join(map(str, ids)), "--block-size", width[1] if width else 0,
        "--output", folder / "logits.safetensors")
    return load_file(folder / "logits.safetensors")["logits"]


def relative(a, b):
    return float((a - b).abs().max() / (b.max() - b.min()))


@pytest.mark.parametrize("model", MODELS)
def test_float_file_gives_the_golden_logits_in_both(files, model, tmp_path):
    cases, tensors = golden(model)
    for case in cases["cases"]:
        want = tensors[case["name"]]
        stock = stock_logits(files[model, "none"], case["input_ids"], case["attention"])
        native = native_logits(files[model, "none"], case["input_ids"], case["attention"], tmp_path)
        assert relative(stock, want) < 1e-4, case["name"]
        assert relative(native, want) < 1e-4, case["name"]
        assert relative(native, stock) < 1e-5, case["name"]


@pytest.mark.parametrize("length, rows", [(1, 1), (2, 1), (3, 2)])
def test_files_of_the_smallest_bounds_run_in_both(length, rows, tmp_path):
    """A bound of 1 must not read as a dimension that never varies: the cache of a one-row call is empty at first."""
    path = tmp_path / "small.pte"
    run("export", "--hf-model-path", DATA / "checkpoints" / "sdar-tiny", "--output-path", path, "--max-seq-len", length,
        "--max-rows", rows)
    ids = [5, 7, 9][:length]
    stock = StockRuntime(path, length).block_causal(ids, 1)
    native = native_logits(path, ids, "block_causal(1)", tmp_path)
    assert native.shape == stock.shape
    assert relative(native, stock) < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_prefill_denoise_commit_and_next_block_in_the_stock_runtime(files, model):
    """Prefix stored, chunk stored behind it, a part of it run again against everything else: as the reference did."""
    cases, tensors = golden(model)
    cached = cases["cached"]
    prefix, chunk, part, start = cached["prefix_ids"], cached["chunk_ids"], cached["part_ids"], cached["part_start"]
    stock = StockRuntime(files[model, "none"], 128)
    width = BLOCK.get(model, len(prefix) + len(chunk))
    stock.block_causal(prefix, width)
    k = torch.stack(stock.kv[0::2])[:, :len(prefix)].transpose(1, 2)
    assert relative(k, tensors["cached.prefix.k"]) < 1e-5
    masked = [part[0]] * len(chunk)
    for step in range(3):  # denoising passes leave no trace
        stock.forward(masked[:step + 1] + chunk[step + 1:], len(prefix), range(len(prefix)))
    committed = stock.block_causal(chunk, width, len(prefix))
    assert relative(committed, tensors["cached.chunk"]) < 1e-4
    total = len(prefix) + len(chunk)
    others = [p for p in range(total) if not start <= p < start + len(part)]
    assert relative(stock.forward(part, start, others), tensors["cached.part"]) < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_int8_file_gives_the_golden_logits_in_both(files, model, tmp_path):
    """Golden: the reference with int8 rows everywhere, the embedding too. An activation on a rounding edge moves whole
    logits by as much as float64 arithmetic does, so the tolerance is the one the fixtures state."""
    attention = f"block_causal({BLOCK[model]})" if model in BLOCK else "full"
    tensors = load_file(DATA / "int8" / f"{model}.safetensors")
    for case in json.loads((DATA / "int8" / f"{model}.json").read_text())["cases"]:
        want, tolerance = tensors[case["logits"]], 4 * case["max_abs_diff_to_float64"] + 1e-3
        stock = stock_logits(files[model, "int8-dynamic"], case["input_ids"], attention)
        native = native_logits(files[model, "int8-dynamic"], case["input_ids"], attention, tmp_path)
        assert (stock - want).abs().max() <= tolerance
        assert (native - want).abs().max() <= tolerance
        assert torch.equal(stock.argmax(-1), want.argmax(-1))
        assert torch.equal(native.argmax(-1), want.argmax(-1))


@pytest.mark.parametrize("model", MODELS)
def test_int8_runtimes_agree(files, model, tmp_path):
    """The same integers but for rounding ties of an activation: one layer's tie is a step of the next layer's rows, so
    a few logits may move; nearly all agree closely, and the argmax wherever the margin is larger."""
    cases, _ = golden(model)
    for case in cases["cases"]:
        stock = stock_logits(files[model, "int8-dynamic"], case["input_ids"], case["attention"])
        native = native_logits(files[model, "int8-dynamic"], case["input_ids"], case["attention"], tmp_path)
        scale = float(stock.max() - stock.min())
        worst = (native - stock).abs().amax(-1) / scale
        top = stock.topk(2, -1).values
        clear = (top[:, 0] - top[:, 1]) > 2 * (native - stock).abs().amax(-1)
        assert float(worst.median()) < 2e-3, (case["name"], worst)
        assert torch.equal(native.argmax(-1)[clear], stock.argmax(-1)[clear])


def test_metadata_reaches_the_stock_runtime(files):
    stock = StockRuntime(files["sdar-tiny", "int8-dynamic"], 16)
    assert stock.constant("get_vocab_size") == [1280]
    assert stock.constant("get_max_context_len") == [128]
    assert stock.constant("get_eos_ids") == [1202, 1200]
    assert stock.constant("get_mask_id") == [1226]
    assert stock.constant("get_model_family") == ["sdar"]


# Decoder layers with layout A's signature, written as a PyTorch user would (tools/make_official_decoder.py).


def test_4_bit_weights_of_the_official_exporter_run_in_sessions(tmp_path):
    """8da4w, the form that language models are exported in: groups of 32, activations quantised while running."""
    path = DATA / "forward" / "official_decoder_8da4w.pte"
    report = json.loads(run("inspect", path, "--json"))
    assert report["runnable"] and {(l["kind"], l["group"]) for l in report["linears"]} == {("qd8-qb4w", 32)}
    ids = load_file(DATA / "forward" / "official_decoder.safetensors")["ids"].tolist()
    native = native_logits(path, ids, "full", tmp_path)
    assert relative(native, StockRuntime(path, 40).forward(ids)) < 2e-3


def test_a_file_of_the_official_exporter_runs_natively(tmp_path):
    path = DATA / "forward" / "official_decoder.pte"
    recorded = load_file(DATA / "forward" / "official_decoder.safetensors")
    report = json.loads(run("inspect", path, "--json"))
    assert report["runnable"], report
    got = native_logits(path, recorded["ids"].tolist(), "full", tmp_path)
    assert relative(got, recorded["logits"]) < 1e-5
