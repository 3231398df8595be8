"""Train the dialogue model: block diffusion on the answers, Muon for the matrices, AdamW for the rest, EMA.

Run from demo/train: python -m dialog.train --out RUN; started again with --resume, it goes on from RUN/last.pt.
The rate is constant after the warm-up and falls linearly over the last part of the steps.
"""
import argparse
import concurrent.futures
import copy
import json
import math
import pathlib
import signal
import sys
import time

import torch
import torch.nn.functional as F

from dialog import data, tokenizer
from dialog.model import SDAR
from optim import Muon, update_ema


def config(hidden, layers, heads, kv_heads, mlp):
    """config.json in the layout of the published SDAR checkpoints."""
    return dict(
        architectures=["SDARForCausalLM"], attention_bias=False, attention_dropout=0.0, attn_implementation="flex_attention",
        auto_map=dict(AutoConfig="configuration_sdar.SDARConfig", AutoModel="modeling_sdar.SDARModel",
                      AutoModelForCausalLM="modeling_sdar.SDARForCausalLM"),
        block_size=data.BLOCK, bos_token_id=tokenizer.EOT, debug=False, eos_token_id=tokenizer.EOT, ep_size=1,
        fuse_cross_entropy=True, head_dim=32, hidden_act="silu", hidden_size=hidden, initializer_range=0.02,
        intermediate_size=mlp, mask_token_id=tokenizer.MASK, max_position_embeddings=512, max_window_layers=layers,
        micro_forward=False, model_type="sdar", num_attention_heads=heads, num_hidden_layers=layers,
        num_key_value_heads=kv_heads, rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1000000, skip_checkpoint=False,
        sliding_window=None, tie_word_embeddings=False, torch_dtype="bfloat16", transformers_version="4.52.4",
        use_cache=False, use_deepep=False, use_sliding_window=False, vocab_size=tokenizer.ROWS)


class Run:
    """Network, averaged weights, optimisers, and what has to be kept to go on."""

    def __init__(self, args):
        self.args, self.step, self.minutes, self.cpu_minutes = args, 0, 0.0, 0.0
        self.cfg = config(args.hidden, args.layers, args.heads, args.kv_heads, args.mlp)
        self.net = SDAR(self.cfg)
        self.net.init_weights(torch.Generator().manual_seed(args.seed))
        self.ema = copy.deepcopy(self.net).requires_grad_(False)
        matrices = [p for p in self.net.model.layers.parameters() if p.ndim == 2]
        self.others = [p for p in self.net.parameters() if all(p is not m for m in matrices)]
        self.muon = Muon(matrices, dtype=torch.float32)
        self.adam = torch.optim.AdamW(self.others, lr=args.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.pool = concurrent.futures.ThreadPoolExecutor(args.threads, initializer=lambda: torch.set_num_threads(1))

    def save(self, path):
        state = {name: getattr(self, name).state_dict() for name in ("net", "ema", "muon", "adam")}
        part = path.with_suffix(".part")
        torch.save(dict(config=self.cfg, args=vars(self.args), step=self.step, minutes=self.minutes,
                        cpu_minutes=self.cpu_minutes, **state), part)
        part.replace(path)

    def load(self, path):
        state = torch.load(path, map_location="cpu")
        self.step, self.minutes, self.cpu_minutes = state["step"], state["minutes"], state["cpu_minutes"]
        for name in ("net", "ema", "muon", "adam"):
            getattr(self, name).load_state_dict(state[name])

    def rate(self):
        left = 1 - self.step / self.args.steps
        return min(1.0, (self.step + 1) / 100) * min(1.0, left / self.args.decay)

    def forward_backward(self, part):
        ids, position, copies, target, weight, first = (torch.from_numpy(x) if hasattr(x, "shape") else x for x in part)
        rows = weight > 0
        ce = F.cross_entropy(self.net(ids, position, copies, first, rows), target[rows], reduction="none")
        loss = (ce * weight[rows]).sum()
        loss.backward()
        ce = ce.detach()
        return float(loss.detach()), int((ce < math.log(2)).sum()), len(ce), ids.numel()

    def train_step(self, parts):
        """Loss, masked tokens given more than probability 1/2, masked tokens, tokens run."""
        totals = [sum(column) for column in zip(*self.pool.map(self.forward_backward, parts))]
        rate = self.rate()
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step(self.args.muon_lr * rate, self.pool)
        self.adam.param_groups[0]["lr"] = self.args.adam_lr * rate
        self.adam.step()
        self.net.zero_grad(set_to_none=True)
        self.step += 1
        update_ema(self.ema, self.net, self.step)
        return totals


def arguments():
    ap = argparse.ArgumentParser()
    for name, default, text in (
            ("hidden", 192, ""), ("layers", 6, ""), ("heads", 6, ""), ("kv-heads", 3, ""),
            ("mlp", 384, "width of the feed-forward layer"), ("batch", 96, "dialogues a step"),
            ("tokens", 1200, "per forward and backward; small parts stay in the cache"),
            ("copies", 2, "noisy copies of every answer block"), ("seed", 1, ""),
            ("steps", 1500, "in all, those before a resume included; the schedule follows them"),
            ("decay", 0.35, "last part of the steps, over which the rate falls"), ("muon-lr", 0.02, ""), ("adam-lr", 2e-3, ""),
            ("threads", 2, ""), ("log-every", 50, "steps"), ("save-every", 5.0, "minutes"), ("out", "run", "output folder")):
        ap.add_argument("--" + name, type=type(default), default=default, help=text)
    ap.add_argument("--resume", action="store_true", help="go on from last.pt of the output folder")
    return ap.parse_args()


def main():
    args = arguments()
    sys.setswitchinterval(2e-4)         # the threads meet at every operation
    torch.set_num_threads(1)            # parallel over micro-batches: no barrier inside an operation, uneven cores are fine
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    if args.resume:
        run.load(out / "last.pt")
    print(f"{sum(p.numel() for p in run.net.parameters()) / 1e6:.2f} M parameters, from step {run.step}", vars(args), flush=True)
    maker = concurrent.futures.ThreadPoolExecutor(1)                     # prepares the next step meanwhile
    prepare = lambda step: maker.submit(data.training_batches, args.seed, step, args.batch, args.tokens, args.copies)
    upcoming, log = prepare(run.step), open(out / "log.jsonl", "a")
    last = mark = saved = time.time()
    before = run.cpu_minutes
    sums, counted, stop = [0.0, 0, 0, 0], run.step, []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))          # ends behind the step, with a checkpoint
    while run.step < args.steps and not stop:
        parts, upcoming = upcoming.result(), prepare(run.step + 1)
        sums = [a + b for a, b in zip(sums, run.train_step(parts))]
        now = time.time()
        run.minutes, run.cpu_minutes, last = run.minutes + (now - last) / 60, before + time.process_time() / 60, now
        if run.step % args.log_every == 0:
            steps = run.step - counted                   # fewer at first behind a resume
            row = dict(step=run.step, loss=round(sums[0] / steps, 4), right=round(sums[1] / sums[2], 4),
                       dialogues_per_s=round(steps * args.batch / (now - mark), 1),
                       tokens_per_s=round(sums[3] / (now - mark)), minutes=round(run.minutes, 2),
                       cpu_minutes=round(run.cpu_minutes, 2))
            print(row, flush=True)
            log.write(json.dumps(row) + "\n"), log.flush()
            sums, counted, mark = [0.0, 0, 0, 0], run.step, now
        if now - saved > 60 * args.save_every:
            run.save(out / "last.pt")
            saved = now
    upcoming.cancel()
    run.save(out / "last.pt")
    print("stopped" if stop else "done", run.step, "steps", round(run.minutes, 2), "minutes,", round(run.cpu_minutes, 2), "of CPU", flush=True)


if __name__ == "__main__":
    main()
