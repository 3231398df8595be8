"""Held-out accuracy of a checkpoint folder under several decoders; writes eval/heldout.jsonl, results.json, golden.json.

All arithmetic is fp32 on the saved bf16 weights (or on their int8 rows). Decoding is SDAR's block_diffusion_generate,
greedy: blocks of 8 on the grid that starts at position 0, the tail of the prompt in a block with the first new tokens,
the end after the block in which a stop id appears.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import time

import torch

from dialog import data, tasks, tokenizer
from dialog.model import SDAR
from layers import load_weights

GEN_LENGTH = 64
STOP = (tokenizer.IM_END, tokenizer.EOT)
GOLDEN = 40


def prompt_ids(messages):
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return data.encode(text + "<|im_start|>assistant\n")


def load(folder, int8=False):
    folder = pathlib.Path(folder)
    return load_weights(SDAR(json.loads((folder / "config.json").read_text())), folder, int8, "embed")


@torch.no_grad()
def decode(net, prompts, per_step=None, threshold=None, order="confidence"):
    """Lists of prompt ids -> lists of all ids (whole blocks), denoising steps, and model calls of each.

    Each step commits the `per_step` most confident masks of the current block (or the first ones, order "sequential"), or
    those whose confidence exceeds `threshold`, at least the best. Calls are counted as for a cache of finished blocks:
    one for the whole blocks of the prompt, one a step, one to store each finished block. Here every call runs the whole
    row instead: later blocks are not visible, so the result is the same.
    """
    block, n = data.BLOCK, len(prompts)
    ends = [-(-(len(p) + GEN_LENGTH) // block) * block for p in prompts]
    x = torch.full((n, max(ends)), tokenizer.MASK)
    for i, p in enumerate(prompts):
        x[i, :len(p)] = torch.tensor(p)
    at, steps = [len(p) // block * block for p in prompts], [0] * n
    calls = [int(a > 0) for a in at]
    live = list(range(n))
    while live:
        lo, hi = min(at[i] for i in live), max(at[i] for i in live) + block
        ids = x[live, :hi]
        position = torch.arange(hi).expand(len(live), hi)
        logits = net(ids, position, torch.zeros_like(ids), lo)
        window = torch.tensor([at[i] for i in live])[:, None] + torch.arange(block)
        rows = torch.softmax(torch.gather(logits, 1, (window - lo)[:, :, None].expand(-1, -1, logits.shape[2])), -1)
        conf, token = rows.max(-1)
        known = torch.gather(ids, 1, window) != tokenizer.MASK
        rank_by = conf if order == "confidence" else -window.float() / x.shape[1]
        best = rank_by.masked_fill(known, -2).sort(descending=True, stable=True).indices
        rank = torch.empty_like(best).scatter_(1, best, torch.arange(block).expand_as(best).contiguous())
        commit = ~known & ((rank < per_step) if threshold is None else (rank == 0) | (conf > threshold))
        for row, i in enumerate(live):
            here = slice(at[i], at[i] + block)
            x[i, here] = torch.where(commit[row], token[row], x[i, here])
            steps[i] += 1
            calls[i] += 1
            if not (x[i, here] == tokenizer.MASK).any():
                calls[i] += 1
                new = x[i, max(at[i], len(prompts[i])):at[i] + block].tolist()
                at[i] = at[i] + block
                ends[i] = at[i] if any(t in STOP for t in new) else ends[i]
        live = [i for i in live if at[i] < ends[i]]
    return [x[i, :at[i]].tolist() for i in range(n)], steps, calls


def answer_text(prompt, ids):
    new = ids[len(prompt):]
    end = next((i for i, t in enumerate(new) if t in STOP), len(new))
    return data.decode(new[:end])


def measure(net, entries, pool, rows=20, **rule):
    """Exact answers, in all and by task, and tokens (masks replaced, so also those behind the end) a pass."""
    start = time.time()
    prompts = [prompt_ids(e["messages"]) for e in entries]
    order = sorted(range(len(entries)), key=lambda i: -len(prompts[i]))
    groups = [order[i:i + rows] for i in range(0, len(order), rows)]
    exact, new, steps, calls, wrong = collections.defaultdict(list), 0, 0, 0, []
    for group, (ids, s, c) in zip(groups, pool.map(lambda g: decode(net, [prompts[i] for i in g], **rule), groups)):
        steps, calls = steps + sum(s), calls + sum(c)
        for i, out in zip(group, ids):
            new += len(out) - len(prompts[i])
            said = answer_text(prompts[i], out)
            exact[entries[i]["task"]].append(said == entries[i]["answer"])
            if not exact[entries[i]["task"]][-1]:
                wrong.append((i, said))
    hits = sum(map(sum, exact.values()))
    return dict(**rule, exact=round(hits / len(entries), 4),
                exact_by_task={t: round(sum(exact[t]) / len(exact[t]), 4) for t in tasks.QUOTA if t in exact},
                tokens_per_denoising_pass=round(new / steps, 3), tokens_per_forward=round(new / calls, 3),
                forwards=round(calls / len(entries), 2), seconds=round(time.time() - start, 1)), wrong


def write_golden(net, entries, out):
    """Greedy decodes of the first dialogues, one at a time."""
    cases = []
    for index, entry in enumerate(entries[:GOLDEN]):
        prompt = prompt_ids(entry["messages"])
        case = dict(index=index, prompt_ids=prompt)
        for name, rule in (("static_1", dict(per_step=1)), ("dynamic_0.9", dict(threshold=0.9))):
            (ids,), _, (calls,) = decode(net, [prompt], **rule)
            case[name] = dict(output_ids=ids[len(prompt):], num_forwards=calls)
        cases.append(case)
    head = dict(gen_length=GEN_LENGTH, block_length=data.BLOCK, denoising_steps=data.BLOCK, stop_ids=list(STOP),
                static_1="low_confidence_static", **{"dynamic_0.9": "low_confidence_dynamic, confidence_threshold 0.9"},
                arithmetic="fp32 from the saved bf16 weights", num_forwards="prefill, denoising and storing calls")
    text = json.dumps(dict(head, dialogues=cases))
    (out / "golden.json").write_text(text.replace('{"index"', '\n{"index"') + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--quick", type=int, default=0, help="so many dialogues, one token a pass, nothing written")
    args = ap.parse_args()
    torch.set_num_threads(1)
    pool = concurrent.futures.ThreadPoolExecutor(args.threads, initializer=lambda: torch.set_num_threads(1))
    entries, nets = tasks.questions(), dict(fp32=load(args.folder))
    if args.quick:
        entries = entries[:args.quick]
        result, wrong = measure(nets["fp32"], entries, pool, per_step=1)
        print(json.dumps(result, indent=1))
        for i, said in wrong[:40]:
            print(entries[i]["task"], "|", entries[i]["messages"][-1]["content"], "|", entries[i]["answer"], "|", said)
        return
    nets["int8"] = load(args.folder, int8=True)
    out = pathlib.Path(args.folder) / "eval"
    out.mkdir(exist_ok=True)
    (out / "heldout.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    write_golden(nets["fp32"], entries, out)
    rules = [dict(per_step=1), dict(per_step=1, order="sequential"), dict(per_step=2), dict(per_step=4)]
    rules += [dict(threshold=t) for t in (0.7, 0.85, 0.9, 0.95, 0.99)]
    plan = [("fp32", r) for r in rules] + [("int8", r) for r in (rules[0], rules[6], rules[7])]
    results = []
    for precision, rule in plan:
        results.append(dict(weights=precision, **measure(nets[precision], entries, pool, **rule)[0]))
        print({k: v for k, v in results[-1].items() if k != "exact_by_task"}, flush=True)
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
