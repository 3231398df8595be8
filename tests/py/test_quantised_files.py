"""Every quantisation scheme, from a checkpoint to logits: the bytes in the file against PyTorch's arithmetic, the official
runtime and ours on the same file, and recipes that give parts of a model another form."""
import json
import re

import pytest

from oracles import oracle

torch = oracle("torch", "quantised files are")
oracle("executorch.runtime", "agreement with the official runtime is")
from safetensors.torch import load_file  # noqa: E402

import diffulex_edge  # noqa: E402
from layout_a import StockRuntime  # noqa: E402
from program import DATA, fail, run, run_json, start  # noqa: E402
from pte_blobs import named_data  # noqa: E402

MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
# The rows of the tiny models that groups do not divide: those weights take another form.
ODD = {"int4-g32": {"dream-tiny": {"layers.*.q": "int4", "layers.*.k": "int4", "layers.*.v": "int4",
                                   "layers.*.gate": "int4", "layers.*.up": "int4", "layers.*.down": "int4",
                                   "layers.*.o": "int4"}},
       "int4-g64": {"llada-tiny": {"*": "int4-g32"}, "fast_dllm_v2-tiny": {"*": "int4-g32"}, "dream-tiny": {"*": "int4"}},
       "int4-g128": {"sdar-tiny": {"layers.*.o": "int4-g64"}, "llada-tiny": {"*": "int4-g32"},
                     "fast_dllm_v2-tiny": {"*": "int4-g32"}, "dream-tiny": {"*": "int4"}}}


def int8_rows(w):
    scale = w.abs().amax(1) / 127.0
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (w / scale[:, None]).round().clamp(-128, 127).to(torch.int8), scale


def int4(w, group):
    """Codes, and scales as the file keeps them: float32 of a row, bfloat16 of a group."""
    g = w.unflatten(1, (-1, group or w.shape[1]))
    scale = g.abs().amax(2) / 7.0
    if group:
        scale = scale.to(torch.bfloat16).float()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (g / scale[:, :, None]).round().clamp(-8, 7).to(torch.int8).flatten(1), scale


def nibbles(q):
    u = (q + 8).to(torch.uint8)
    return (u[:, 0::2] | u[:, 1::2] << 4).contiguous()


def bytes_of(t):
    return t.contiguous().view(torch.uint8).numpy().tobytes()


def stored(w, form):
    """What a file holds for a weight and for its scales (None: there are none)."""
    if form == "none":
        return bytes_of(w), None
    if form in ("fp16", "bf16"):
        return bytes_of(w.to(torch.float16 if form == "fp16" else torch.bfloat16)), None
    if form.startswith("int8"):
        q, scale = int8_rows(w)
        return bytes_of(q), bytes_of(scale)
    group = int(form.partition("-g")[2] or 0)
    q, scale = int4(w, group)
    return bytes_of(nibbles(q)), bytes_of(scale.to(torch.bfloat16) if group else scale)


QWEN = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}


def weights_of(model):
    tensors = {}
    for file in (DATA / "checkpoints" / model).glob("*.safetensors"):
        tensors.update(load_file(file))
    return {name: t.float() for name, t in tensors.items()}


def export(model, path, scheme, rules=None, rounding=None, **roles):
    """A file of that scheme, with other forms for some tensors or roles."""
    config = {"default": scheme, "tensors": [{"pattern": p, "scheme": s} for p, s in (rules or {}).items()], **roles}
    (path.parent / "recipe.json").write_text(json.dumps(config))
    return diffulex_edge.export_checkpoint(DATA / "checkpoints" / model, path, max_seq_len=128,
                                           quantization_config=path.parent / "recipe.json", rounding=rounding)


SCHEMES = [s.name for s in diffulex_edge.export_schemes() if "xnnpack" in s.backends]
FORMS = ("none", "fp16", "bf16", "int8-dynamic", "int8-static", "int8-weight-only", "int4", "int4-g32", "int4-g64", "int4-g128")


def test_every_scheme_is_tested():
    assert sorted(SCHEMES) == sorted(FORMS)


@pytest.mark.parametrize("scheme", FORMS)
def test_the_file_holds_the_numbers_of_pytorch(scheme, tmp_path):
    """sdar-tiny in bfloat16, tied or not as published; every linear layer, the head and the table."""
    path = tmp_path / "m.pte"
    rules = ODD.get(scheme, {}).get("sdar-tiny", {})
    export("sdar-tiny", path, scheme, rules, rounding="nearest")
    data, weights, checked = named_data(path), weights_of("sdar-tiny"), 0
    end = "int8-dynamic" if scheme.startswith("int4") or scheme == "int8-static" else scheme
    for layer in range(2):
        for short, long in QWEN.items():
            form = next((f for p, f in rules.items() if p.endswith("." + short)), scheme)
            want, scales = stored(weights[f"model.layers.{layer}.{long}.weight"], form)
            assert data[f"layers.{layer}.{short}.weight"] == want, short
            assert data.get(f"layers.{layer}.{short}.weight.scales") == scales, short
            checked += 1
    want, scales = stored(weights["lm_head.weight"], end)
    assert data["lm_head.weight"] == want and data.get("lm_head.weight.scales") == scales
    assert checked == 14


def grid(low, high):
    """Scale and zero point of int8 over a range, in float32."""
    scale = torch.tensor((high - low) / 255)
    return scale, int(torch.clamp(torch.round(-128 - torch.tensor(low) / scale), -128, 127))


@pytest.mark.parametrize("observer", (None, "minmax", "percentile"))
def test_static_grids_and_biases_are_those_of_the_ranges(observer, tmp_path):
    """dream-tiny, whose q, k and v have biases: integers in steps of the inputs' scale times the row's."""
    checkpoint, path = DATA / "checkpoints" / "dream-tiny", tmp_path / "m.pte"
    diffulex_edge.export_checkpoint(checkpoint, path, max_seq_len=128, quantization="int8-static", observer=observer,
                                    save_ranges=tmp_path / "ranges.json", calibration_samples=20)
    data, weights, ranges = named_data(path), weights_of("dream-tiny"), json.loads((tmp_path / "ranges.json").read_text())
    assert json.loads(data["dlx.ranges"]) == ranges and ranges["observer"] == (observer or "mse")
    for layer in range(3):
        for name in ("q", "k", "v"):
            short, long = f"layers.{layer}.{name}", f"model.layers.{layer}.self_attn.{name}_proj"
            _, scales = int8_rows(weights[f"{long}.weight"])
            step = grid(*ranges["tensors"][f"{short}.input"])[0] * scales
            assert data[f"{short}.bias.scales"] == bytes_of(step)
            steps = (weights[f"{long}.bias"].double() / step.double()).round().to(torch.int32)
            assert data[f"{short}.bias"] == bytes_of(steps)
    report = run_json("inspect", path)
    assert {(l["kind"], l["layers"]) for l in report["linears"]} == {("qs8-qc8w", 21), ("qd8-qc8w", 1)}
    for name, ends in report["ranges"].items():
        for of in ("input", "output"):
            scale, zero = grid(*ranges["tensors"][name.replace("weight", of)])
            assert ends[of] == pytest.approx([float(scale) * (-128 - zero), float(scale) * (127 - zero)], rel=1e-6), name
    assert len(report["ranges"]) == 21
    again = tmp_path / "again.pte"
    diffulex_edge.export_checkpoint(checkpoint, again, max_seq_len=128, quantization="int8-static",
                                    ranges=tmp_path / "ranges.json")
    assert again.read_bytes() == path.read_bytes()


def test_mistakes_about_ranges_are_named(tmp_path):
    checkpoint, ranges = DATA / "checkpoints" / "sdar-tiny", tmp_path / "ranges.json"

    def refused(quantization, *words, **options):
        with pytest.raises((ValueError, RuntimeError, OSError)) as failure:
            diffulex_edge.export_checkpoint(checkpoint, tmp_path / "m.pte", max_seq_len=128, quantization=quantization,
                                            **options)
        assert all(word in str(failure.value) for word in words), failure.value
        assert not (tmp_path / "m.pte").exists()

    refused("int8-dynamic", "ranges", "int8-static", save_ranges=ranges)
    refused("int8-dynamic", "ranges", "int8-static", observer="mse")
    refused("int8-static", "mse", "percentile", observer="best")
    refused("int8-static", "observer", observer="mse", ranges=ranges)
    refused("int8-static", "ranges.json", ranges=ranges)
    refused("int8-static", "calibration", "int8-static", ranges=ranges, calibration_samples=20)
    diffulex_edge.export_checkpoint(checkpoint, tmp_path / "n.pte", max_seq_len=128, quantization="int8-static",
                                    save_ranges=ranges, calibration_samples=20)
    known = json.loads(ranges.read_text())
    del known["tensors"]["layers.1.down.output"]
    ranges.write_text(json.dumps(known))
    refused("int8-static", "layers.1.down.output", ranges=ranges)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"default": "int8-static", "head": "int8-static"}))
    with pytest.raises(RuntimeError, match="'lm_head.weight' cannot be int8-static: there is no range"):
        diffulex_edge.export_checkpoint(checkpoint, tmp_path / "m.pte", max_seq_len=128, quantization_config=recipe,
                                        calibration_samples=20)


def logits_of_both(path, case, tmp_path):
    width = re.fullmatch(r"block_causal\((\d+)\)", case["attention"])
    stock = StockRuntime(path, 128)
    stock = stock.block_causal(case["input_ids"], int(width[1])) if width else stock.forward(case["input_ids"])
    run("logits", "--pte-path", path, "--token-ids", ",".join(map(str, case["input_ids"])),
        "--block-size", width[1] if width else 0, "--output", tmp_path / "l.safetensors")
    return stock, load_file(tmp_path / "l.safetensors")["logits"]


def agree(stock, native, floats, static=False):
    """Float activations: only sums differ in order. Quantised rows: the same integers but for ties of an activation, each
    a step of the next layer's rows (test_official_runtime.py): nearly all agree closely. On a static grid a tie stays
    where it is, for other activations of a row keep their integers."""
    scale = float(stock.max() - stock.min())
    worst = (native - stock).abs().amax(-1) / scale
    top = stock.topk(2, -1).values
    clear = (top[:, 0] - top[:, 1]) > 2 * (native - stock).abs().amax(-1)
    assert float(worst.max() if floats else worst.median()) < (1e-5 if floats or static else 2e-3), worst
    assert torch.equal(native.argmax(-1)[clear], stock.argmax(-1)[clear])


@pytest.mark.parametrize("scheme", [f for f in FORMS if f not in ("none", "int8-dynamic")])  # those: test_official_runtime
@pytest.mark.parametrize("model", MODELS)
def test_the_official_runtime_agrees(model, scheme, tmp_path):
    export(model, tmp_path / "m.pte", scheme, ODD.get(scheme, {}).get(model))
    cases = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"]
    for case in cases[:2]:
        stock, native = logits_of_both(tmp_path / "m.pte", case, tmp_path)
        agree(stock, native, scheme in ("fp16", "bf16", "int8-weight-only"), scheme == "int8-static")


@pytest.mark.parametrize("model", MODELS)
def test_logits_are_near_those_of_float32(model, tmp_path):
    """A form that is stored or multiplied wrongly does not come near; how near a right one comes is its precision."""
    case = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"][0]
    want = load_file(DATA / "forward" / f"{model}.safetensors")[case["name"]]
    for scheme, far in (("fp16", 2e-3), ("bf16", 3e-2), ("int8-weight-only", 5e-2), ("int8-static", 0.3), ("int4", 0.5),
                        ("int4-g32", 0.5)):
        export(model, tmp_path / "m.pte", scheme, ODD.get(scheme, {}).get(model))
        _, native = logits_of_both(tmp_path / "m.pte", case, tmp_path)
        assert float((native - want).abs().max() / (want.max() - want.min())) < far, scheme


@pytest.mark.parametrize("model", ("sdar-tiny", "fast_dllm_v2-tiny"))  # with a head of its own, and tied
@pytest.mark.parametrize("table", ("fp16", "bf16", "int4", "int4-g32", "none"))
@pytest.mark.parametrize("head", ("fp16", "int4-g32"))
def test_embedding_and_head_have_forms_of_their_own(model, table, head, tmp_path):
    path = tmp_path / "m.pte"
    written = export(model, path, "int8-weight-only", embedding=table, head=head)
    assert written.quantization == "int8-weight-only, mixed"
    data, weights = named_data(path), weights_of(model)
    tied = model == "fast_dllm_v2-tiny"
    name = "embed.weight" if tied and table == head else "lm_head.weight"
    want, scales = stored(weights["model.embed_tokens.weight" if tied else "lm_head.weight"], head)
    assert data[name] == want and data.get(name + ".scales") == scales
    case = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"][0]
    stock, native = logits_of_both(path, case, tmp_path)
    agree(stock, native, head == "fp16")
    report = run_json("inspect", path)
    assert report["fused"] and report["metadata"]["get_quantization"] == ["int8-weight-only, mixed"]
    assert report["operators"]["fused"]["embedding"] == 3 and "FLOOR" not in report["operators"]["node_by_node"]


def test_a_shared_table_stands_in_the_file_once(tmp_path):
    sizes = {}
    for head in ("int4-g32", "int8-dynamic"):
        sizes[head] = export("fast_dllm_v2-tiny", tmp_path / f"{head}.pte", "int4-g32", {"*.down": "int4-g32"},
                             embedding="int4-g32", head=head).file_bytes
    table = weights_of("fast_dllm_v2-tiny")["model.embed_tokens.weight"].numel()
    assert sizes["int8-dynamic"] - sizes["int4-g32"] > 0.9 * table  # as int8, a head of its own


def test_exclusions_stay_float32(tmp_path):
    path = tmp_path / "m.pte"
    run("export", DATA / "checkpoints" / "sdar-tiny", path, "--quantization", "int4-g32", "--max-seq-len", 64,
        "--exclude", "lm_head, model.layers.1.*")
    data, weights = named_data(path), weights_of("sdar-tiny")
    assert data["lm_head.weight"] == bytes_of(weights["lm_head.weight"])
    assert data["layers.1.q.weight"] == bytes_of(weights["model.layers.1.self_attn.q_proj.weight"])
    assert data["layers.0.q.weight"] == stored(weights["model.layers.0.self_attn.q_proj.weight"], "int4-g32")[0]
    other = tmp_path / "o.pte"
    diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", other, quantization="int4_g32", max_seq_len=64,
                                    exclude=["lm_head", "model.layers.1.*"])
    assert other.read_bytes() == path.read_bytes()


def refused(tmp_path, config, *args):
    (tmp_path / "c.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return fail("export", DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte", "--quantization-config",
                tmp_path / "c.json", *args)


def test_mistakes_in_a_recipe_are_named(tmp_path):
    assert "there is no key 'embeding'; the keys are: default, embedding, head, tensors" in refused(
        tmp_path, {"embeding": "int4"})
    assert "there is no form 'int5'; there are: none, fp16," in refused(tmp_path, {"head": "int5"})
    assert "quantization 'int5' is not available; the backend 'xnnpack' writes:" in refused(tmp_path, {"default": "int5"})
    assert '"tensors", entry 1: needs a "pattern" and a "scheme"' in refused(
        tmp_path, {"tensors": [{"pattern": "*.q", "scheme": "fp16"}, {"pattern": "*.k"}]})
    assert '"tensors", entry 0: there is no key \'form\'' in refused(
        tmp_path, {"tensors": [{"pattern": "*.q", "form": "fp16"}]})
    assert '"tensors" is an object; an array is expected' in refused(tmp_path, {"tensors": {}})
    assert '"head" is an integer; a name is expected' in refused(tmp_path, {"head": 8})
    assert "an object is expected" in refused(tmp_path, [])
    assert "c.json" in refused(tmp_path, "{")
    assert "leave one of them out" in refused(tmp_path, {"default": "int4"}, "--quantization", "int4")
    assert "'layers.0.dwon' names no weight of this model; the nearest names are layers.0.down" in refused(
        tmp_path, {"tensors": [{"pattern": "layers.0.dwon", "scheme": "fp16"}]})
    assert "'*norm*' names no weight matrix that a form could be given to" in refused(
        tmp_path, {"tensors": [{"pattern": "*norm*", "scheme": "fp16"}]})
    assert "does not fit int4-g128: its groups of 128 do not divide rows of 192" in refused(
        tmp_path, {"default": "int4-g128"})
    assert not (tmp_path / "m.pte").exists()
    # Norms are float32 anyway.
    done = start("export", DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte", "--exclude", "*norm*", "--max-seq-len", 64)
    assert done.returncode == 0 and "note: '*norm*' names nothing that takes a form: " in done.stderr


def notes(tmp_path, config, *args, model="sdar-tiny"):
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = start("export", DATA / "checkpoints" / model, tmp_path / "m.pte", "--quantization-config", tmp_path / "c.json",
                 "--max-seq-len", 64, *args)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("diffulex-edge: note: ")]


def rules(*pairs):
    return [{"pattern": pattern, "scheme": scheme} for pattern, scheme in pairs]


@pytest.mark.parametrize("config, args, said", [
    ({"tensors": rules(("layers.*", "fp16"), ("layers.0.down", "none"))}, (),
     ["'layers.0.down' has no effect: all that it names, 'layers.*' in front of it names as well"]),
    ({"tensors": rules(("layers.0.q", "fp16"), ("layers.0.k", "fp16"), ("layers.0.?", "none"), ("layers.0.q", "bf16"))}, (),
     ["'layers.0.q' has no effect: all that it names, 'layers.0.q' in front of it names as well"]),
    ({"tensors": rules(("layers.0.*", "fp16"), ("layers.1.*", "fp16"), ("layers.?.down", "none"))}, (),
     ["'layers.?.down' has no effect: all that it names, 'layers.1.*' and others in front of it name as well"]),
    ({"tensors": rules(("layers.0.*", "fp16"), ("layers.?.down", "none"))}, (), []),
    ({"tensors": rules(("layers.0.down", "fp16"))}, ("--exclude", " layers.* , lm_head"),
     ["'layers.0.down' has no effect: all that it names, 'layers.*' in front of it names as well"]),
    ({"head": "int8-weight-only", "tensors": rules(("lm_head", "fp16"))}, (),
     ["\"head\": \"int8-weight-only\" has no effect: 'lm_head' names it as well and gives it fp16"]),
    ({"head": "fp16", "embedding": "fp16"}, ("--exclude", "lm_head,*embed_tokens"),
     ["\"head\": \"fp16\" has no effect: 'lm_head' names it as well and gives it none",
      "\"embedding\": \"fp16\" has no effect: '*embed_tokens' names it as well and gives it none"]),
    ({"head": "fp16", "tensors": rules(("layers.*", "none"))}, (), []),
])
def test_what_has_no_effect_is_told(tmp_path, config, args, said):
    assert notes(tmp_path, config, *args) == [f"diffulex-edge: note: {sentence}" for sentence in said]


def test_a_head_that_is_the_table_has_two_forms(tmp_path):
    config = {"head": "int8-dynamic", "embedding": "fp16", "tensors": rules(("embed", "none"))}
    assert notes(tmp_path, config, model="fast_dllm_v2-tiny") == [
        "diffulex-edge: note: \"embedding\": \"fp16\" has no effect: 'embed' names it as well and gives it none"]


@pytest.mark.parametrize("list_", [",", ",,", " ", "lm_head,", ",lm_head", "lm_head, ,embed"])
def test_patterns_are_not_empty(tmp_path, list_):
    where = DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte"
    assert f"exclude is '{list_}', in which a pattern is empty" in fail("export", *where, "--exclude", list_)
    with pytest.raises(ValueError, match="a pattern is empty"):
        diffulex_edge.export_checkpoint(*where, exclude=list_)
    with pytest.raises(ValueError, match="a pattern is empty"):
        diffulex_edge.export_checkpoint(*where, exclude=list_.split(","))
    assert not (tmp_path / "m.pte").exists()
    diffulex_edge.export_checkpoint(*where, exclude=[])


def test_help_says_what_patterns_are():
    said = " ".join(run("export", "--help").split())
    assert "layers.0.down, ...; * is any text, ? any character" in said and "as in a shell" not in said


def scaled(tmp_path, name, factor):
    """The checkpoint with one tensor times a factor."""
    import shutil

    from safetensors.torch import save_file
    folder = tmp_path / f"checkpoint-{factor}"
    shutil.copytree(DATA / "checkpoints" / "llada-tiny", folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = (tensors[name].float() * factor).to(tensors[name].dtype)
    save_file(tensors, folder / "model.safetensors")
    return folder


STATIC = ("--quantization", "int8-static", "--calibration-samples", 4, "--calibration-length", 32)
UP = "model.transformer.blocks.0.up_proj.weight"


def test_ranges_beyond_floats_are_refused_by_name(tmp_path):
    path, ranges = tmp_path / "m.pte", tmp_path / "r.json"
    folder = scaled(tmp_path, UP, 1e22)
    sentence = start("export", folder, path, *STATIC, "--save-ranges", ranges)
    assert sentence.returncode == 1 and not path.exists() and not ranges.exists()
    assert "weight 'layers.0.up.weight' cannot be int8-static: its output reaches from -" in sentence.stderr
    assert "and only magnitudes to 1.8e+19 can be squared in float32; give it another form" in sentence.stderr
    for words in ((*STATIC, "--save-ranges", ranges), ("--quantization", "int8-static", "--ranges", ranges)):
        done = start("export", folder, path, *words, "--exclude", "layers.0.*")
        assert done.returncode == 0, done.stderr
    sentence = start("export", scaled(tmp_path, UP, 3e38), path, *STATIC, "--exclude", "layers.0.*", "--save-ranges", ranges)
    assert sentence.returncode == 1 and "layer 0 of " in sentence.stderr and "makes NaN or infinite numbers" in sentence.stderr


def test_ranges_of_nothing_but_zeros_are_told(tmp_path):
    path, ranges = tmp_path / "m.pte", tmp_path / "r.json"
    folder = scaled(tmp_path, UP, 0)
    told = "note: the range of 'layers.0.down.input' (and of 2 other inputs and outputs) is [0, 0], as the data"
    done = start("export", folder, path, *STATIC, "--save-ranges", ranges, "--validate", "--validation-samples", 4)
    assert done.returncode == 0 and told in done.stderr and json.loads(ranges.read_text())["tensors"]["layers.0.up.output"] == [0, 0]
    done = start("export", folder, path, "--quantization", "int8-static", "--ranges", ranges)
    assert done.returncode == 0 and told in done.stderr


def test_ranges_for_a_file_cost_the_usual_scales(tmp_path):
    words = ("export", DATA / "checkpoints" / "llada-tiny", tmp_path / "m.pte", *STATIC, "--save-ranges", tmp_path / "r.json")
    assert "is made without its usual scales of inputs" in start(*words).stderr
    assert start(*words, "--rounding", "nearest").stderr == ""


def test_a_weight_beyond_halves_is_refused(tmp_path):
    from safetensors.torch import save_file
    import shutil
    folder = tmp_path / "checkpoint"
    shutil.copytree(DATA / "checkpoints" / "llada-tiny", folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.transformer.blocks.1.q_proj.weight"
    tensors[name][3, 5] = 70000.0
    save_file(tensors, folder / "model.safetensors")
    sentence = fail("export", folder, tmp_path / "m.pte", "--quantization", "fp16")
    assert "'layers.1.q.weight' holds numbers of magnitude 70000, which float16 cannot hold" in sentence
    assert not (tmp_path / "m.pte").exists()
    run("export", folder, tmp_path / "m.pte", "--quantization", "fp16", "--exclude", name)


@pytest.mark.parametrize("scheme", [f for f in FORMS if f != "int4-g128"])  # its rows have no such groups
def test_a_trained_model_keeps_answering(scheme, tmp_path):
    """The dialogue model has 94 % of its held-out questions right in float32."""
    model = DATA.parent.parent / "demo" / "dialog-sdar"
    diffulex_edge.export_checkpoint(model, tmp_path / "m.pte", quantization=scheme)
    out = run_json("eval", tmp_path / "m.pte", model / "eval" / "heldout.jsonl", "--count", 100)
    assert out["questions"] == 100 and out["right"] >= 88, out
