#!/usr/bin/env python3
"""Makes tests/data/diffusion: what reference decoders do, and vectors of sampling primitives.

    make_diffusion_data.py ORACLE VECTORS OUT [--quick]

ORACLE is a folder with the PyTorch reference decoders (decode_llada.py, decode_dream.py, decode_sdar.py,
decode_fast_dllm_v2.py, sampling.py, model.py, masks.py); VECTORS one with recorded primitives (sampler/tokens.json,
sampler/filters.json, sampler/logits.safetensors, schedule.json files) and decodes (*-tiny/golden/traces*.json); OUT the
folder to write. --quick leaves out traces.json, the decodes with the scripted model. Needs torch, numpy and safetensors.
The tests read OUT only.

The scripted model is integer arithmetic that tests/unit/test_diffusion_model.h repeats bit by bit: every row's logits
are a hash of all tokens and cached values that the row may see, so a wrong context, position or cache shows at once.
"""

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

U64 = np.uint64
VOCAB, MASK, STOPS, CONTEXT = 48, 5, [7, 11], 256


def mix(z):
    """splitmix64's finaliser on arrays of uint64."""
    z = np.asarray(z, dtype=U64)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


class ScriptedModel:
    """Model with the forward of the reference decoders: two layers, whose keys and values are 52-bit integers, exact in
    float64. Those of the second layer depend on everything their row saw, so that stale caches differ from fresh ones."""

    dtype = torch.float64

    def __init__(self, seed, attn_block):
        self.cfg = SimpleNamespace(mask_id=MASK, attn_block=attn_block, layers=1, kv_heads=1, head_dim=1)
        self.seed = U64(seed)

    def forward(self, ids, start=0, cache=None, context=(), store=False, rule=None):
        own = torch.arange(start, start + len(ids))
        context = torch.as_tensor(list(context), dtype=torch.long)
        visible = rule(own, torch.cat([context, own])) if rule else torch.ones(len(own), len(context) + len(own))
        visible = visible.numpy().astype(U64)
        place = mix(own.numpy().astype(U64) + (self.seed << U64(20)))

        def attend(layer, values):
            seen = values
            if len(context):
                seen = np.concatenate([layer[0][0, context, 0].numpy().astype(U64), values])
            if store:
                layer[0][0, own, 0] = torch.from_numpy(values.astype(np.float64))
            return (visible * seen[None, :]).sum(axis=1, dtype=U64)

        first, second = (cache.k, cache.v) if cache else (None, None)
        hidden = mix(attend(first, mix(place + ids.numpy().astype(U64) * U64(0x9E3779B97F4A7C15)) >> U64(12)) ^ place)
        return self.logits(mix(attend(second, mix(hidden + U64(0x632BE59BD9B4E019)) >> U64(12)) ^ hidden))

    @staticmethod
    def logits(row):
        tokens = np.arange(VOCAB, dtype=U64)
        noise = mix(row[:, None] + tokens[None, :] * U64(0xD1B54A32D192ED03)) & U64(1023)
        out = noise.astype(np.float32) / np.float32(256) - np.float32(2)
        winner = ((row >> U64(8)) % U64(VOCAB)).astype(np.int64)
        winner = np.where(winner == MASK, (winner + 1) % VOCAB, winner)
        boost = ((row >> U64(40)) % U64(1024)).astype(np.float32) / np.float32(128)
        out[np.arange(len(row)), winner] = np.float32(2.25) + boost
        out[:, MASK] = -4
        return torch.from_numpy(out)


def make_prompt(rng, length, masks=0):
    ordinary = [t for t in range(VOCAB) if t != MASK and t not in STOPS]
    prompt = [rng.choice(ordinary) for _ in range(length)]
    for i in rng.sample(range(length), masks):
        prompt[i] = MASK
    return prompt


def llada_cases(rng):
    shapes = [(16, 16, 16), (16, 16, 5), (16, 8, 8), (24, 8, 6), (32, 16, 8), (12, 12, 12), (20, 20, 24), (16, 8, 32), (8, 1, 8)]
    for gen, block, steps in shapes:
        for length, masks in [(1, 0), (7, 0), (20, 0), (9, 2)]:
            for cfg in [0.0, 0.5, 1.5]:
                options = {"steps": steps, "gen_length": gen, "block_length": block}
                yield "llada.generate", 0, options | ({"cfg_scale": cfg} if cfg else {}), make_prompt(rng, length, masks)
    for gen, block, steps in [(16, 8, 16), (16, 8, 8), (24, 12, 4), (32, 8, 32), (16, 16, 5), (32, 16, 2), (12, 4, 12)]:
        for length, masks in [(1, 0), (6, 0), (15, 0), (8, 2)]:
            for cache in ["none", "prefix", "dual"]:
                for threshold in [None, 0.6, 0.9, 1.0]:
                    if threshold is None and (masks or (cache != "none" and steps * block == gen)):
                        continue
                    if masks and cache == "none":
                        continue
                    options = {"steps": steps, "gen_length": gen, "block_length": block, "threshold": threshold, "cache": cache}
                    yield "llada.generate_fast", 0, options, make_prompt(rng, length, masks)


def dream_cases(rng):
    for new, steps in [(16, 16), (16, 8), (24, 5), (32, 48), (5, 4), (1, 1), (9, 1)]:
        for length, masks in [(1, 0), (8, 0), (17, 0), (6, 2)]:
            for alg in ["maskgit_plus", "topk_margin", "entropy"]:
                for extra in [{}, {"eps": 0.01}, {"top_p": 0.9}, {"top_k": 5}, {"top_p": 0.8, "top_k": 4}]:
                    options = {"steps": steps, "max_new_tokens": new, "alg": alg} | extra
                    yield "dream.diffusion_generate", 0, options, make_prompt(rng, length, masks)
    for new, steps in [(16, 16), (16, 4), (24, 8), (20, 5), (6, 1)]:
        for length in [1, 9]:
            for threshold in [0.3, 0.6, 0.9]:
                options = {"steps": steps, "max_new_tokens": new, "alg": "confidence_threshold", "threshold": threshold}
                yield "dream.diffusion_generate", 0, options, make_prompt(rng, length)
    for new, block, steps in [(16, 8, 16), (24, 12, 8), (32, 8, 12), (16, 16, 5), (6, 1, 6), (12, 4, 6)]:
        for length, masks in [(1, 0), (5, 0), (14, 1)]:
            for dual in [False, True]:
                for alg, threshold in [("confidence_threshold", 0.6), ("confidence_threshold", 0.9), ("entropy", 0.9),
                                       ("topk_margin", 0.9)]:
                    options = {"steps": steps, "max_new_tokens": new, "block_length": block, "alg": alg,
                               "threshold": threshold, "dual": dual}
                    yield "dream.generate_blocks", 0, options, make_prompt(rng, length, masks)


def sdar_cases(rng):
    for block, steps in [(4, 4), (4, 2), (4, 3), (8, 8), (8, 3), (16, 4), (5, 7), (1, 1)]:
        for strategy in ["sequential", "low_confidence_static", "low_confidence_dynamic", "entropy_bounded"]:
            for length, masks in [(1, 0), (3, 0), (4, 0), (5, 0), (8, 0), (13, 0), (7, 2)]:
                options = {"gen_length": rng.choice([1, 4, 7, 16, 21]), "block_length": block, "denoising_steps": steps,
                           "strategy": strategy, "confidence_threshold": rng.choice([0.3, 0.5, 0.85])}
                if strategy == "entropy_bounded":
                    options["eb_threshold"] = rng.choice([0.35, 1.2, 3.0])
                extra = rng.choice([{}, {}, {"top_k": 6, "top_p": 0.95}, {"top_p": 0.7}, {"stop_ids": STOPS}, {"stop_ids": STOPS}])
                yield "sdar.generate", block, options | extra, make_prompt(rng, length, masks)


def fast_dllm_v2_cases(rng):
    for block, small in [(32, 8), (32, 4), (32, 32), (16, 8), (16, 16), (8, 2)]:
        for length, masks in [(1, 0), (block - 1, 0), (block, 0), (block + 1, 0), (2 * block - 3, 0), (2 * block, 0), (block + 6, 2)]:
            for cache in [False, True]:
                for threshold in [0.5, 0.9, 0.95]:
                    options = {"max_new_tokens": rng.choice([20, 32, 48, 64]), "stop_id": STOPS[0], "block_size": block,
                               "small_block_size": small, "threshold": threshold, "block_cache": cache}
                    if length == block and rng.random() < 0.5:
                        options["prefill_exact"] = True
                    yield "fast_dllm_v2.generate", 32, options, make_prompt(rng, length, masks)


def run_case(decoders, name, seed, attn_block, options, prompt):
    module, function = name.split(".")
    ids, trace = getattr(decoders[module], function)(ScriptedModel(seed, attn_block), prompt, **options)
    return ids, trace.summary()


def traces(oracle):
    """Decodes whose every decision has a margin, so that the last bits of a logarithm cannot matter."""
    sys.path.insert(0, str(oracle))
    import decode_dream
    import decode_fast_dllm_v2
    import decode_llada
    import decode_sdar

    decoders = {"llada": decode_llada, "dream": decode_dream, "sdar": decode_sdar, "fast_dllm_v2": decode_fast_dllm_v2}
    rng, cases, dropped = random.Random(20), [], 0
    for maker in [llada_cases, dream_cases, sdar_cases, fast_dllm_v2_cases]:
        for name, attn_block, options, prompt in maker(rng):
            seed = rng.randrange(1 << 30)
            ids, summary = run_case(decoders, name, seed, attn_block, options, prompt)
            gap = summary["min_score_gap"]
            if gap is not None and gap < 1e-5:
                dropped += 1
                continue
            steps = [[s["block"], *s["forward"], [[p, t, float(f"{c:.6g}")] for p, t, c in s["accepted"]]] for s in summary["steps"]]
            cases.append({"algorithm": name, "seed": seed, "attn_block": attn_block, "options": options, "prompt_ids": prompt,
                          "output_ids": ids, "num_forwards": summary["num_forwards"], "steps": steps})
    print(f"{len(cases)} decodes, {dropped} dropped for want of a margin")
    return {"vocab_size": VOCAB, "mask_id": MASK, "max_context": CONTEXT, "stop_ids": STOPS, "cases": cases}


def numbers(tensor):
    """Rows of a float32 tensor; -infinity becomes null."""
    return [[None if x == -np.inf else float(f"{x:.9g}") for x in row] for row in tensor.double().tolist()]


def primitives(vectors):
    from safetensors.torch import load_file

    folder = Path(vectors) / "sampler"
    tensors = load_file(str(folder / "logits.safetensors"))
    tokens = json.loads((folder / "tokens.json").read_text())
    filters = json.loads((folder / "filters.json").read_text())
    for case in filters:
        case["probs"] = numbers(tensors[case["probs"]])
    names = {case["logits"] for case in tokens + filters}
    dream = json.loads((Path(vectors) / "dream-tiny/golden/schedule.json").read_text())["rows"]
    llada = json.loads((Path(vectors) / "llada-tiny/golden/schedule.json").read_text())["rows"]
    rng = random.Random(4)
    dream = [r for r in dream if len(r["shares"]) <= 64 or (r["steps"] == 512 and r["masks"] == 512)]
    return {"logits": {n: numbers(tensors[n]) for n in sorted(names)}, "tokens": tokens, "filters": filters,
            "dream_shares": rng.sample(dream, min(len(dream), 120)), "equal_shares": [r for r in llada if r["steps"] <= 33]}


def draws():
    """Draws with given uniform numbers: LLaDA's Gumbel formula in float64, inverse distribution functions, ranks."""
    g = torch.Generator().manual_seed(3)
    cases = []
    for temperature in [0.2, 0.7, 1.0, 1.6]:
        for _ in range(6):
            logits = torch.randn(37, generator=g) * 3
            u = torch.rand(37, generator=g, dtype=torch.float64)
            value = logits.double().exp() / (-torch.log(u)) ** temperature
            probs = torch.softmax(logits.double() / temperature, dim=-1)
            one = float(torch.rand(1, generator=g, dtype=torch.float64))
            drawn = int((probs.cumsum(-1) <= one).sum())
            scores = torch.rand(9, generator=g, dtype=torch.float64)
            noise = torch.rand(9, generator=g, dtype=torch.float64)
            rank = torch.softmax(scores / temperature, dim=-1) / -torch.log(noise)
            cases.append({"temperature": temperature, "logits": numbers(logits[None])[0], "gumbel_uniforms": u.tolist(),
                          "gumbel": int(value.argmax()), "uniform": one, "drawn": drawn,
                          "probability": float(probs[drawn]), "scores": scores.tolist(), "noise": noise.tolist(),
                          "order": torch.argsort(rank, descending=True).tolist()})
    return {"cases": cases, "filtered": filtered_draws(g)}


def keep_likeliest(logits, top_p=None, top_k=None):
    """float64 logits -> the same with -infinity where a filter removes a token."""
    order = torch.argsort(logits, descending=True)
    keep = torch.zeros_like(logits, dtype=torch.bool)
    if top_k is not None:
        keep[order[:top_k]] = True
    else:
        mass = torch.softmax(logits[order], dim=-1).cumsum(-1)
        keep[order[: int((mass <= top_p).sum()) + 1]] = True
    return logits.masked_fill(~keep, -torch.inf)


def filtered_draws(g):
    """One draw behind top_p and top_k, in both orders: Dream filters by top_p first, SDAR by top_k."""
    cases = []
    for top_p, top_k in [(0.9, None), (0.5, None), (None, 3), (None, 10), (0.8, 5), (0.95, 4), (0.4, 30), (0.99, 2)]:
        for top_k_first in [False, True]:
            for temperature in [0.3, 1.0, 1.7]:
                logits = (torch.randn(29, generator=g) * 2.5).float()
                x = logits.double() / temperature
                steps = [{"top_p": top_p}, {"top_k": top_k}][:: -1 if top_k_first else 1]
                for step in steps:
                    x = keep_likeliest(x, **step) if None not in step.values() else x
                probs = torch.softmax(x, dim=-1)
                one = float(torch.rand(1, generator=g, dtype=torch.float64))
                drawn = int((probs.cumsum(-1) <= one).sum())
                plain = torch.softmax(logits.double() / temperature, dim=-1)
                cases.append({"temperature": temperature, "top_p": top_p or 1, "top_k": top_k or 0, "top_k_first": top_k_first,
                              "logits": numbers(logits[None])[0], "uniform": one, "drawn": drawn,
                              "probability": float(probs[drawn]), "plain": float(plain[drawn])})
    return cases


def recorded(oracle, vectors):
    """The decodes that come with the tiny checkpoints, their float and their int8 ones, without the numbers behind them."""
    sys.path.insert(0, str(oracle))
    from checkpoint import read_config

    models, cases = {}, []
    for folder in sorted(Path(vectors).glob("*-tiny")):
        cfg = read_config(folder)
        models[cfg.family] = {"vocab_size": cfg.vocab_size, "mask_id": cfg.mask_id, "attn_block": cfg.attn_block,
                              "logits_shift": int(cfg.shifted)}
        for name in ["traces.json", "traces_int8.json"]:
            for trace in json.loads((folder / "golden" / name).read_text(encoding="utf-8")):
                steps = [[s["block"], *s["forward"], [[p, t, float(f"{c:.7g}")] for p, t, c in s["accepted"]]]
                         for s in trace["steps"]]
                cases.append({"name": trace["name"], "model": cfg.family,
                              **{k: trace[k] for k in ["algorithm", "options", "prompt_ids", "output_ids", "num_forwards"]},
                              "steps": steps})
    return {"models": models, "cases": cases}


def write(path, data):
    """One case a line, so that a change shows where it is."""
    dump = lambda x: json.dumps(x, separators=(",", ":"), allow_nan=False)
    lines = lambda v: "[\n" + ",\n".join(map(dump, v)) + "\n]" if isinstance(v, list) else dump(v)
    path.write_text("{" + ",\n".join(f"{dump(k)}:{lines(v)}" for k, v in data.items()) + "}\n")
    print(path.name, path.stat().st_size, "bytes")


def main():
    oracle, vectors, out = (Path(a) for a in sys.argv[1:4])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "primitives.json", primitives(vectors))
    write(out / "draws.json", draws())
    write(out / "recorded.json", recorded(oracle, vectors))
    if "--quick" not in sys.argv:
        write(out / "traces.json", traces(oracle))


if __name__ == "__main__":
    main()
