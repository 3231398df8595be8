"""Train the 6x6 Sudoku model: LLaDA objective, Muon for the matrices, AdamW for the rest, warmup-cosine, EMA.

Run from demo/train: python -m sudoku6.train --out RUN.
"""
import argparse
import concurrent.futures
import copy
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F

from optim import Muon, update_ema
from sudoku6 import data
from sudoku6.model import LLaDA


def config(d_model, n_layers, n_heads, mlp):
    """config.json in the layout of the published LLaDA checkpoints."""
    return dict(
        activation_type="silu", alibi=False, alibi_bias_max=8.0, architectures=["LLaDAModelLM"], attention_dropout=0.0,
        attention_layer_norm=False, attention_layer_norm_with_affine=True,
        auto_map=dict(AutoConfig="configuration_llada.LLaDAConfig", AutoModelForCausalLM="modeling_llada.LLaDAModelLM",
                      AutoModel="modeling_llada.LLaDAModelLM"),
        bias_for_layer_norm=False, block_group_size=1, block_type="llama", d_model=d_model, embedding_dropout=0.0,
        embedding_size=data.VOCAB, eos_token_id=data.EOS, flash_attention=False, include_bias=False,
        include_qkv_bias=False, init_cutoff_factor=None, init_device="meta", init_fn="mitchell", init_std=0.02,
        input_emb_norm=False, layer_norm_type="rms", layer_norm_with_affine=True, mask_token_id=data.MASK,
        max_sequence_length=128, mlp_hidden_size=mlp, mlp_ratio=4, model_type="llada", multi_query_attention=None,
        n_heads=n_heads, n_kv_heads=n_heads, n_layers=n_layers, pad_token_id=data.EOS, precision="amp_bf16",
        residual_dropout=0.0, rms_norm_eps=1e-05, rope=True, rope_full_precision=True, rope_theta=500000.0,
        scale_logits=False, torch_dtype="bfloat16", transformers_version="4.46.3", use_cache=False, vocab_size=data.VOCAB,
        weight_tying=False)


def corrupt(ids, generator):
    """Mask each answer token with probability t; t is stratified over the batch.  Returns inputs and loss weights."""
    n = len(ids)
    t = (torch.arange(n) + torch.rand(1, generator=generator)) / n
    t = t[torch.randperm(n, generator=generator)].clamp_(min=1e-2)[:, None]
    masked = torch.rand(n, data.GEN_LEN, generator=generator) < t
    noisy = ids.clone()
    noisy[:, data.PROMPT_LEN:][masked] = data.MASK
    return noisy, masked / t / (n * data.GEN_LEN)


def main():
    ap = argparse.ArgumentParser()
    for name, default, text in (
            ("d-model", 192, ""), ("layers", 6, ""), ("heads", 6, ""), ("mlp", 384, "width of the feed-forward layer"),
            ("batch", 96, ""), ("micro", 16, "rows per forward/backward; small ones stay in the cache"), ("seed", 20, ""),
            ("minutes", 33.0, "wall time of the training loop; the schedule follows it"), ("muon-lr", 0.02, ""),
            ("adam-lr", 2e-3, ""), ("threads", 2, ""), ("log-every", 50, "steps"), ("out", "run", "output folder")):
        ap.add_argument("--" + name, type=type(default), default=default, help=text)
    args = ap.parse_args()
    torch.set_num_threads(1)            # parallel over micro-batches: no barrier inside an operation, uneven cores are fine
    pool = concurrent.futures.ThreadPoolExecutor(args.threads, initializer=lambda: torch.set_num_threads(1))
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    cfg, gen = config(args.d_model, args.layers, args.heads, args.mlp), torch.Generator().manual_seed(args.seed)
    net = LLaDA(cfg)
    net.init_weights(gen)
    ema = copy.deepcopy(net).requires_grad_(False)
    matrices = [p for p in net.model.transformer.blocks.parameters() if p.ndim == 2]
    others = [p for p in net.parameters() if all(p is not m for m in matrices)]
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", vars(args), flush=True)
    muon, adam = Muon(matrices), torch.optim.AdamW(others, lr=args.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)

    def save(name):
        torch.save(dict(config=cfg, ema=ema.state_dict(), net=net.state_dict(), args=vars(args), step=step), out / name)

    start = last_save = mark = time.time()
    step, log, run_loss, hits, total = 0, open(out / "log.jsonl", "a"), 0.0, 0.0, 0.0
    digits = torch.tensor([i < 42 and i % 7 < 6 for i in range(data.GEN_LEN)])
    while (done := (time.time() - start) / (60 * args.minutes)) < 1:
        rate = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        ids = torch.from_numpy(data.to_ids(*data.generate(args.seed * 10 ** 7 + step, args.batch)))
        noisy, weight = corrupt(ids, gen)
        target = ids[:, data.PROMPT_LEN:]

        def forward_backward(rows):
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(noisy[rows], data.PROMPT_LEN)
            ce = F.cross_entropy(logits.float().mT, target[rows], reduction="none")
            (ce * weight[rows]).sum().backward()
            return ce.detach()

        ce = torch.cat(list(pool.map(forward_backward, torch.arange(args.batch).split(args.micro))))
        run_loss += float((ce * weight).sum())
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(args.muon_lr * rate, pool)
        adam.param_groups[0]["lr"] = args.adam_lr * rate
        adam.step()
        net.zero_grad(set_to_none=True)
        step += 1
        update_ema(ema, net, step)
        seen = (noisy[:, data.PROMPT_LEN:] == data.MASK) & digits
        hits += float((seen & (ce < math.log(2))).sum())                         # right digit above probability 1/2
        total += float(seen.sum())
        now = time.time()
        if step % args.log_every == 0:
            row = dict(step=step, loss=round(run_loss / args.log_every, 4), masked_digits_right=round(hits / total, 4),
                       samples_per_s=round(args.log_every * args.batch / (now - mark), 1), minutes=round((now - start) / 60, 2))
            print(row, flush=True)
            log.write(json.dumps(row) + "\n"), log.flush()
            run_loss, hits, total, mark = 0.0, 0.0, 0.0, now
        if now - last_save > 300:
            save(f"step{step}.pt")
            last_save = now
    save("final.pt")
    print("done", step, "steps", round((time.time() - start) / 60, 2), "minutes", flush=True)


if __name__ == "__main__":
    main()
