"""What a quantised program has to answer, in numpy: a checkpoint of any of the four families, its weights stored and
multiplied by the formulas of docs/QUANTIZATION.md, everything else in float32 or float64. Knows nothing of this library:
tools/make_scheme_golden.py records with it what tests/data/schemes holds."""
import fnmatch
import json
from pathlib import Path

import numpy as np

F32 = np.float32
QWEN = {"embed": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head", "layer": "model.layers.{}.",
        "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "q": "self_attn.q_proj",
        "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj", "q_norm": "self_attn.q_norm",
        "k_norm": "self_attn.k_norm", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
LLADA = {"embed": "model.transformer.wte", "norm": "model.transformer.ln_f", "lm_head": "model.transformer.ff_out",
         "layer": "model.transformer.blocks.{}.", "attn_norm": "attn_norm", "mlp_norm": "ff_norm", "q": "q_proj",
         "k": "k_proj", "v": "v_proj", "o": "attn_out", "gate": "ff_proj", "up": "up_proj", "down": "ff_out"}

# ---- checkpoints -----------------------------------------------------------------------------------------------------


def read_tensors(folder):
    """{published name: float32 array} of all files of tensors in a folder; bfloat16 is widened."""
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, t in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            begin, end = t["data_offsets"]
            raw = data[start + begin:start + end]
            if t["dtype"] == "BF16":
                wide = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(F32)
            else:
                wide = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]]).astype(F32)
            found[name] = wide.reshape(t["shape"])
    return found


class Shape:
    """What of config.json counts here."""

    def __init__(self, folder):
        raw = json.loads((Path(folder) / "config.json").read_text())
        llada = raw["model_type"] == "llada"
        self.names, self.theta, self.eps = LLADA if llada else QWEN, raw["rope_theta"], raw["rms_norm_eps"]
        self.layers = raw["n_layers" if llada else "num_hidden_layers"]
        self.heads = raw["n_heads" if llada else "num_attention_heads"]
        self.kv_heads = raw["n_kv_heads" if llada else "num_key_value_heads"]
        self.head_dim = raw.get("head_dim") or raw["d_model" if llada else "hidden_size"] // self.heads
        self.tied = raw["weight_tying" if llada else "tie_word_embeddings"]
        self.block = {"sdar": raw.get("block_size"), "Fast_dLLM_Qwen": raw.get("bd_size")}.get(raw["model_type"], 0)


# ---- weights ---------------------------------------------------------------------------------------------------------


def bfloat16(x):
    """To the nearest bfloat16, half to even; as float32."""
    bits = np.ascontiguousarray(x, F32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) & np.uint32(0xffff0000)).view(F32)


def codes(w, most, low, high, group=0):
    """Integers [n, k] and scales [n, groups] of rows, or of groups of a row: s = max / most, then q = round(w / s)."""
    g = w.reshape(w.shape[0], -1, group or w.shape[1])
    scale = np.abs(g).max(2) / F32(most)
    if group:
        scale = bfloat16(scale)
    scale = np.where(scale == 0, F32(1), scale)
    return np.clip(np.rint(g / scale[:, :, None]), low, high).reshape(w.shape).astype(np.int64), scale


def rows_as_stored(table, form):
    """An embedding table after it was stored in a form; float32."""
    if form in ("fp16", "bf16", "none"):
        return {"fp16": lambda t: t.astype(np.float16).astype(F32), "bf16": bfloat16, "none": lambda t: t}[form](table)
    q, scale = codes(table, 127, -128, 127)
    return q.astype(F32) * scale


class Grid:
    """Integers of 8 bits over [low, high], which has 0 in it."""

    def __init__(self, low, high):
        self.scale = F32((float(F32(high)) - float(F32(low))) / 255)
        self.zero = int(np.clip(np.rint(F32(-128) - F32(low) / self.scale), -128, 127))


# ---- the model -------------------------------------------------------------------------------------------------------


class Reference:
    """A checkpoint under a scheme. `ranges`: {"layers.0.q.input": [low, high], ...}, for int8-static. `dtype`: what floats
    between the rules are computed in; whatever a rule rounds to float32 is float32 in either.

    After forward(), `rounded` has what went into roundings of activations, in steps, call by call: np.inf where a bound
    cut it off."""

    def __init__(self, folder, scheme, rules=(), ranges=None, dtype=np.float64):
        self.shape, self.scheme, self.rules = Shape(folder), scheme, list(rules)
        self.tensors, self.ranges, self.dtype = read_tensors(folder), ranges, dtype
        self.rounded, self.seen = [], {}
        ends = "int8-dynamic" if scheme.startswith("int4") or scheme == "int8-static" else scheme
        self.head = ends
        self.embed = rows_as_stored(self.tensor("embed"), ends)

    def tensor(self, short, layer=None, end=".weight"):
        names = self.shape.names
        published = names[short] if layer is None else names["layer"].format(layer) + names[short]
        return self.tensors.get(published + end)

    def form(self, short, layer):
        if layer is None:
            return self.head
        return next((f for pattern, f in self.rules if fnmatch.fnmatchcase(f"layers.{layer}.{short}", pattern)), self.scheme)

    def round(self, x, up, low, high):
        """round(x * up) between the bounds."""
        t = x * up
        out = np.clip(np.rint(np.clip(t, low, high)), low, high)
        self.rounded.append(np.where((t < low) | (t > high), np.inf, t).astype(np.float64))
        return out.astype(np.int64)

    def rows(self, x):
        """Integers without their zero points, and scales, of rows that are quantised while running."""
        lo, hi = np.minimum(x.min(1), 0).astype(F32), np.maximum(x.max(1), 0).astype(F32)
        up = np.where(lo == hi, F32(1), F32(255) / np.where(lo == hi, F32(1), hi - lo))
        low, high = lo * up, hi * up
        zero = np.where((F32(-128) + low) + (F32(127) + high) > 0, F32(-128) - low, F32(127) - high)
        zero = self.round(np.clip(zero, -128, 127), F32(1), -128, 127)[:, None]
        return self.round(x, up[:, None].astype(self.dtype), -128 - zero, 127 - zero), F32(1) / up

    def linear(self, short, x, layer=None):
        """Rows [n, inputs] through one matrix -> [n, outputs]."""
        form, name = self.form(short, layer), short if layer is None else f"layers.{layer}.{short}"
        w, bias = self.tensor("embed" if short == "lm_head" and self.shape.tied else short, layer), self.tensor(short, layer, ".bias")
        if form == "int8-static":
            y = self.static(name, x, w, bias)
        elif form in ("none", "fp16", "bf16"):
            y = x @ rows_as_stored(w, form).astype(self.dtype).T + self.wide(bias)
        elif form == "int8-weight-only":
            q, scale = codes(w, 127, -128, 127)
            y = (x @ q.astype(self.dtype).T) * scale[:, 0] + self.wide(bias)
        else:
            y = self.dynamic(form, x, w) + self.wide(bias)
        for key, seen in ((f"{name}.input", x), (f"{name}.output", y)):
            low, high = self.seen.get(key, (0.0, 0.0))
            self.seen[key] = (min(low, float(seen.min())), max(high, float(seen.max())))
        return y

    def wide(self, bias):
        return 0 if bias is None else bias.astype(self.dtype)

    def dynamic(self, form, x, w):
        group = int(form.partition("-g")[2] or 0)
        q, scale = codes(w, 127, -128, 127) if form == "int8-dynamic" else codes(w, 7, -8, 7, group)
        xq, step = self.rows(x)
        sums = np.einsum("mgk,ngk->mng", xq.reshape(len(x), -1, group or w.shape[1]), q.reshape(len(q), -1, group or w.shape[1]))
        return (sums.astype(self.dtype) * scale.astype(self.dtype)).sum(2) * step[:, None].astype(self.dtype)

    def static(self, name, x, w, bias):
        q, scale = codes(w, 127, -128, 127)
        scale = scale[:, 0]
        grid, out = Grid(*self.ranges[f"{name}.input"]), Grid(*self.ranges[f"{name}.output"])
        out.scale = max(out.scale, grid.scale * scale.max() / F32(255))
        xq = self.round(x, self.dtype(F32(1) / grid.scale), -128 - grid.zero, 127 - grid.zero)
        sums = xq @ q.T
        if bias is not None:
            sums += np.rint(bias.astype(np.float64) / (grid.scale * scale).astype(np.float64)).astype(np.int64)
        assert np.abs(sums).max() < 2 ** 31
        steps = np.rint(sums.astype(F32) * (grid.scale * scale / out.scale))
        return np.clip(steps, -128 - out.zero, 127 - out.zero).astype(self.dtype) * out.scale

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.dtype(self.shape.eps)) * weight.astype(self.dtype)

    def rope(self, x):
        """x [n, heads, head_dim]; the angles are float32, as in the published models."""
        half = x.shape[-1] // 2
        angle = np.arange(len(x), dtype=F32)[:, None] * (
            F32(1) / F32(self.shape.theta) ** (np.arange(0, 2 * half, 2, dtype=F32) / F32(2 * half)))
        cos, sin = (f(angle.astype(np.float64)).astype(F32).astype(self.dtype)[:, None, :] for f in (np.cos, np.sin))
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, q, k, v, visible):
        """q [n, heads, dim], k and v [n, kv_heads, dim] -> [n, heads * dim]"""
        k, v = (np.repeat(t, self.shape.heads // self.shape.kv_heads, axis=1) for t in (k, v))
        scores = np.einsum("nhd,mhd->hnm", q, k) / self.dtype(np.sqrt(q.shape[-1]))
        scores = np.where(visible, scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("hnm,mhd->nhd", e / e.sum(-1, keepdims=True), v).reshape(len(q), -1)

    def forward(self, ids):
        """-> logits [n, vocab]; rows see their own block and those before, or everything."""
        s, at = self.shape, np.arange(len(ids)) // (self.shape.block or len(ids))
        self.rounded, visible = [], at[:, None] >= at[None, :]
        x = self.embed[np.array(ids)].astype(self.dtype)
        for i in range(s.layers):
            h = self.norm(x, self.tensor("attn_norm", i))
            q, k, v = (self.linear(n, h, i).reshape(len(ids), -1, s.head_dim) for n in ("q", "k", "v"))
            if "q_norm" in s.names and self.tensor("q_norm", i) is not None:
                q, k = self.norm(q, self.tensor("q_norm", i)), self.norm(k, self.tensor("k_norm", i))
            x = x + self.linear("o", self.attention(self.rope(q), self.rope(k), v, visible), i)
            h = self.norm(x, self.tensor("mlp_norm", i))
            gate = self.linear("gate", h, i)
            x = x + self.linear("down", gate / (1 + np.exp(-gate)) * self.linear("up", h, i), i)
        return self.linear("lm_head", self.norm(x, self.tensor("norm")))
