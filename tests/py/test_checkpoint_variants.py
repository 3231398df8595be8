"""Checkpoints that differ from the published ones, against the models of transformers that they come from: rotary
scaling, heads, biases, names. Logits agree to float32's rounding.
"""
import json
import pathlib

import pytest

from oracles import oracle

torch = oracle("torch", "variants of checkpoints are")
transformers = oracle("transformers", "variants of checkpoints are")
numpy = oracle("numpy", "variants of checkpoints are")
safetensors = oracle("safetensors.torch", "variants of checkpoints are")

import diffulex_edge  # noqa: E402

CHECKPOINTS = pathlib.Path(__file__).resolve().parents[1] / "data" / "checkpoints"
POSITIONS = 96
IDS = [(7 * i * i + 3 * i) % 1000 for i in range(POSITIONS)]


def variant(tmp_path, name, config=None, tensors=lambda weights: weights):
    """A copy of a tiny checkpoint with other keys (None takes one away) and other tensors."""
    source, folder = CHECKPOINTS / name, tmp_path / "checkpoint"
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors" and file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((source / "config.json").read_text())
    for key, value in (config or {}).items():
        settings.pop(key, None)
        if value is not None:
            settings[key] = value
    (folder / "config.json").write_text(json.dumps(settings))
    weights = safetensors.load_file(source / "model.safetensors")
    safetensors.save_file(tensors(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def ours(tmp_path, folder):
    diffulex_edge.export_checkpoint(folder, tmp_path / "model.pte", max_seq_len=POSITIONS, quantization="none")
    with diffulex_edge.Model(tmp_path / "model.pte") as model, model.session() as session:
        return numpy.asarray(session.forward(IDS, attn_block=0)).reshape(POSITIONS, -1)


def theirs(folder, kind, config):
    """The checkpoint as Qwen2 or Qwen3, every position seeing every other."""
    settings = json.loads((folder / "config.json").read_text())
    keep = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "vocab_size", "rms_norm_eps", "rope_theta", "max_position_embeddings", "head_dim", "rope_scaling",
            "rope_parameters", "tie_word_embeddings", "original_max_position_embeddings")
    chosen = {k: settings[k] for k in keep if settings.get(k) is not None}
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**chosen, **config))
    weights = {k: v.float() for k, v in safetensors.load_file(folder / "model.safetensors").items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith(".bias") for name in missing)
    for name, parameter in model.named_parameters():
        if name in missing:
            torch.nn.init.zeros_(parameter)
    model.float().eval()
    mask = torch.zeros(1, 1, POSITIONS, POSITIONS)
    with torch.no_grad():
        return model(torch.tensor([IDS]), attention_mask=mask).logits[0].numpy()


def compare(tmp_path, folder, kind, **config):
    mine, other = ours(tmp_path, folder), theirs(folder, kind, config)
    assert mine.shape == other.shape
    # Sums are formed in another order: a few units of the last place of the largest logits.
    assert numpy.abs(mine - other).max() < 3e-5 * max(1.0, numpy.abs(other).max())
    return mine


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24}
SCALINGS = {
    "none": {},
    "theta inside": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "linear": {"rope_scaling": {"type": "linear", "factor": 3.0}},
    "dynamic": {"rope_scaling": {"rope_type": "dynamic", "factor": 3.0}},
    "llama3": {"rope_scaling": LLAMA3},
    "llama3, new key": {"rope_parameters": {**LLAMA3, "rope_theta": 700.0, "factor": 5.0}},
    "yarn": {"rope_scaling": YARN},
    "yarn, attention factor": {"rope_scaling": {**YARN, "attention_factor": 1.5}},
    "yarn, scales": {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7}},
    "yarn, betas": {"rope_scaling": {**YARN, "beta_fast": 4, "beta_slow": 0.5, "truncate": False}},
    "yarn, new key": {"rope_parameters": {**YARN, "rope_theta": 10000.0}},
    "yarn, positions beside": {"rope_scaling": {"rope_type": "yarn", "factor": 2.0},
                               "original_max_position_embeddings": 48},
}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("checkpoint, kind", [("dream-tiny", "Qwen2"), ("sdar-tiny", "Qwen3")])
def test_rotary_scaling(name, checkpoint, kind, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    reference = ours(plain, variant(plain, checkpoint))
    config = {key: SCALINGS[name].get(key) for key in ("rope_scaling", "rope_parameters")}
    mine = compare(tmp_path, variant(tmp_path, checkpoint, {**SCALINGS[name], **config}), kind)
    changed = numpy.abs(mine - reference).max() > 1e-2
    assert changed == (name not in ("none", "dynamic"))  # dynamic scaling begins behind the checkpoint's positions


def test_no_biases(tmp_path):
    folder = variant(tmp_path, "dream-tiny", {"attention_bias": False},
                     lambda weights: {k: v for k, v in weights.items() if not k.endswith(".bias")})
    compare(tmp_path, folder, "Qwen2")


@pytest.mark.parametrize("tied", (True, False))
def test_heads(tied, tmp_path):
    """A head that differs from the embedding is used, whatever the configuration says; one that is equal is tied."""
    folder = variant(tmp_path, "sdar-tiny", {"tie_word_embeddings": True}, lambda weights: {
        k: (weights["model.embed_tokens.weight"].clone() if tied and k == "lm_head.weight" else v)
        for k, v in weights.items()})
    mine = ours(tmp_path, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "tie_word_embeddings": False}))
    other = theirs(folder, "Qwen3", {})
    assert numpy.abs(mine - other).max() < 3e-5 * max(1.0, numpy.abs(other).max())


@pytest.mark.parametrize("rename", [lambda k: "model." + k, lambda k: k[len("model."):] if k.startswith("model.") else k])
def test_prefixes(rename, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    reference = ours(plain, variant(plain, "dream-tiny"))
    folder = variant(tmp_path, "dream-tiny", None, lambda weights: {rename(k): v for k, v in weights.items()})
    assert (ours(tmp_path, folder) == reference).all()
