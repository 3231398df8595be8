"""Held-out accuracy of a checkpoint folder under several decoders; writes eval/heldout.jsonl, results.json, golden.json.

All arithmetic is fp32 on the saved bf16 weights (or on their int8 rows); confidences are float64 softmax probabilities.
"""
import argparse
import concurrent.futures
import json
import pathlib
import time

import torch

from sudoku6 import data
from sudoku6.model import LLaDA
from layers import load_weights

BANDS = [(10, 12), (13, 15), (16, 18), (19, 22)]


def load(folder, int8=False):
    folder = pathlib.Path(folder)
    return load_weights(LLaDA(json.loads((folder / "config.json").read_text())), folder, int8, "wte")


@torch.no_grad()
def decode(net, prompt, block, per_step=None, threshold=None, trace=None):
    """LLaDA low-confidence decoding, greedy, block after block.  prompt [n, 48] -> ids [n, 96], forwards [n].

    Each step looks at the masks of the current block and commits the `per_step` most confident of them (ties: lowest
    position), or the most confident one and all others that reach `threshold`.  Committed tokens are never revised.
    trace: a list that receives, per step, one list of committed positions for each row (single rows only).
    """
    n, p = prompt.shape
    x = torch.cat((prompt, torch.full((n, data.GEN_LEN), data.MASK)), 1)
    forwards = torch.zeros(n, dtype=torch.long)
    for lo in range(p, p + data.GEN_LEN, block):
        while len(live := (x[:, lo:lo + block] == data.MASK).any(1).nonzero()[:, 0]):
            xs = x[live]
            logits = net(xs, p)[:, lo - p:lo - p + block].double()
            conf, token = torch.softmax(logits, -1).max(-1)
            conf[xs[:, lo:lo + block] != data.MASK] = -1
            order = conf.sort(descending=True, stable=True).indices
            rank = torch.empty_like(order).scatter_(1, order, torch.arange(block).expand_as(order).contiguous())
            commit = (rank < per_step) & (conf >= 0) if threshold is None else (rank == 0) | (conf >= threshold)
            xs[:, lo:lo + block][commit] = token[commit]
            x[live] = xs
            forwards[live] += 1
            if trace is not None:
                trace.append((commit[0].nonzero()[:, 0] + lo).tolist())
    return x, forwards


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--n", type=int, default=500)
    ap.add_argument("--quick", action="store_true", help="threshold 0.9 only, nothing written")
    args = ap.parse_args()
    torch.set_num_threads(1)
    pool = concurrent.futures.ThreadPoolExecutor(args.threads, initializer=lambda: torch.set_num_threads(1))
    puzzle, solution = data.questions()
    clues = (puzzle > 0).sum(1)[:args.n]
    ids = torch.from_numpy(data.to_ids(puzzle, solution))[:args.n]
    prompt, answer = ids[:, :data.PROMPT_LEN], ids[:, data.PROMPT_LEN:]
    out = pathlib.Path(args.folder) / "eval"

    def run(net, block, **rule):
        start = time.time()
        parts = list(pool.map(lambda rows: decode(net, prompt[rows], block, **rule), torch.arange(len(ids)).split(25)))
        x, forwards = torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])
        good = x[:, data.PROMPT_LEN:] == answer
        exact = good.all(1).numpy()
        blank = torch.from_numpy(puzzle[:args.n] == 0)
        cells = good[:, :42].reshape(-1, 6, 7)[:, :, :6].reshape(-1, 36)
        mean = lambda v: round(float(v.mean()), 4)
        return dict(
            block=block, **rule, exact=mean(exact), blank_cells=mean(cells[blank].float()),
            exact_by_band={f"{lo}-{hi}": mean(exact[(clues >= lo) & (clues <= hi)]) for lo, hi in BANDS},
            exact_by_clues={c: mean(exact[clues == c]) for c in range(10, 23)}, forwards=mean(forwards.float()),
            tokens_per_forward=round(data.GEN_LEN * len(ids) / float(forwards.sum()), 3), seconds=round(time.time() - start, 1))

    if args.quick:
        return print(run(load(args.folder), 48, threshold=0.9))
    out.mkdir(exist_ok=True)
    (out / "heldout.jsonl").write_text("".join(
        json.dumps(dict(prompt=data.INSTRUCTION + data.to_text(q), answer=data.to_text(s), clues=int((q > 0).sum()))) + "\n"
        for q, s in zip(puzzle, solution)))
    rules = [dict(threshold=t) for t in (0.7, 0.8, 0.9, 0.95, 0.99)] + [dict(per_step=k) for k in (1, 2, 4, 8)]
    plan = [("fp32", 48, r) for r in rules] + [("int8", 48, r) for r in rules]
    plan += [("fp32", 16, dict(threshold=0.9)), ("fp32", 8, dict(threshold=0.9)), ("fp32", 16, dict(per_step=1))]
    nets, results = dict(fp32=load(args.folder), int8=load(args.folder, int8=True)), []
    write_golden(nets["fp32"], prompt[:50], pool, out)
    for precision, block, rule in plan:
        results.append(dict(weights=precision, **run(nets[precision], block, **rule)))
        print({k: v for k, v in results[-1].items() if k != "exact_by_clues"}, flush=True)
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def write_golden(net, prompt, pool, out):
    """Greedy decodes of the first 50 held-out puzzles, one row at a time, block 48."""
    def one(i):
        entry = dict(index=i, prompt_ids=prompt[i].tolist())
        for name, rule in (("threshold_0.9", dict(threshold=0.9)), ("one_per_step", dict(per_step=1))):
            trace = []
            x, forwards = decode(net, prompt[i:i + 1], data.GEN_LEN, trace=trace, **rule)
            entry[name] = dict(output_ids=x[0, data.PROMPT_LEN:].tolist(), forwards=int(forwards[0]), committed=trace)
        return entry
    head = dict(gen_length=data.GEN_LEN, block_length=data.GEN_LEN, arithmetic="fp32 from the saved bf16 weights",
                confidence="float64 softmax", positions="absolute, the prompt is 0..47")
    text = json.dumps(dict(head, puzzles=list(pool.map(one, range(len(prompt))))))
    (out / "golden.json").write_text(text.replace('{"index"', '\n{"index"') + "\n")


if __name__ == "__main__":
    main()
