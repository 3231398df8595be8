"""DiffusionEngine(algorithm="blocks") against recorded runs of the original engine (docs/DIFFERENCES.md).

48 runs with played-back logits and 56 runs with the tiny checkpoints. The original differs from ours on purpose in a
few places; ORIGINAL undoes exactly those, and then every run that the original completes is the same, token for token.
So nothing else differs.
"""

import array
import json
import struct
from pathlib import Path

import pytest

from exported_files import exported  # noqa: F401 - a fixture

from diffulex_edge.decode import ModelFacts
from diffulex_edge.runtime import DiffusionBlockManager, DiffusionEngine, DiffusionGenerationConfig
from diffulex_edge.runtime.block_decoder import BlockDecoder
from diffulex_edge.runtime.sampler import get_sampler_class

DATA = Path(__file__).resolve().parent.parent / "data"
RUNS = json.loads((DATA / "sampler" / "engine.json").read_text())
MASK, VOCAB = 22, 23
SHIFTED = ("fast_dllm_v2", "dream")


def read_cube(name):
    """[calls][rows][vocabulary] of a 3-D float32 tensor."""
    raw = (DATA / "sampler" / "logits.safetensors").read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    info = json.loads(raw[8 : 8 + n])[name]
    begin, end = info["data_offsets"]
    flat = array.array("f", raw[8 + n + begin : 8 + n + end])
    calls, rows, vocab = info["shape"]
    return [
        [list(flat[(c * rows + r) * vocab : (c * rows + r + 1) * vocab]) for r in range(rows)] for c in range(calls)
    ]


def rotating(cls):
    """A sampler with the original's faults: the block's last row stands before its first one, and the mask may be
    chosen as a token."""

    class Rotating(cls):
        def sample(self, block_manager, logits, last_logits=None, fill=False):
            self.never = None
            return super().sample(block_manager, logits, None, fill)

    return Rotating


class Playback:
    """Answers denoising passes with recorded logits, and everything else with a row that predicts `before`."""

    def __init__(self, run, before=None):
        self.cube = read_cube(run["logits"])[1 if run["use_kv_cache"] else 0 :]
        self.calls = run["calls"][1 if run["use_kv_cache"] else 0 :]
        self.before = [0.0] * VOCAB
        if before is not None:
            self.before[before] = 9.0
        self.passes = []
        self.prompt, self.size = len(run["prompt"]), run["options"]["block_size"]

    def __call__(self, call):
        end = call.start + len(call.ids)
        if call.n_store:
            return [self.before] * len(call.rows)
        cube = self.cube[min(len(self.passes), len(self.cube) - 1)]
        self.passes.append(call)
        first = self.prompt + (end - 1 - self.prompt) // self.size * self.size
        return [cube[len(cube) - end + call.start + r] if call.start + r >= first else self.before for r in call.rows]


def visible(call):
    """Keys that each row of a call may see."""
    counts = []
    for i in range(len(call.ids)):
        limit = 1 << 30 if call.attn_block == 0 else ((call.start + i) // call.attn_block + 1) * call.attn_block
        own = min(limit, call.start + len(call.ids)) - call.start
        counts.append(own + sum(max(0, min(b, limit) - a) for a, b in call.context))
    return counts


def facts_of(run):
    # The original's mask had the width of the blocks here with its cache, and always 32 without.
    blocks = run["model"] in ("fast_dllm_v2", "sdar")
    width = (run["options"]["block_size"] if blocks else 0) if run["use_kv_cache"] else 32
    return ModelFacts(
        family=run["model"],
        vocab_size=VOCAB,
        max_context=64,
        max_rows=64,
        mask_id=MASK,
        attn_block=width,
        logits_shift=int(run["model"] in SHIFTED),
        block_length=4,
    )


def decode(run, playback, original=False, **changes):
    engine = DiffusionEngine.from_model(
        playback, model_type=run["model"], use_kv_cache=run["use_kv_cache"], facts=facts_of(run)
    )
    if original:
        engine.sampler_class = rotating(engine.sampler_class)
    config = DiffusionGenerationConfig(temperature=0.0, algorithm="blocks", **{**run["options"], **changes})
    return engine.generate(run["prompt"], config)


def names(runs):
    return [f"{i}-{r['model']}-{'cache' if r['use_kv_cache'] else 'whole'}" for i, r in enumerate(runs)]


@pytest.mark.parametrize("run", RUNS, ids=names(RUNS))
def test_played_back_runs_are_the_originals_but_for_its_faults(run):
    playback = Playback(run)
    # A block that is not full after num_iterations: the original runs it again, with its masks in cache or output.
    tokens = decode(run, playback, original=True, **({"num_iterations": 99} if run["quirk"] else {}))
    lengths = len(run["prompt"]) + run["options"]["max_new_tokens"]
    if not run["quirk"]:
        recorded = run["output"]
        assert len(recorded) == lengths
        # An accepted mask id is a token in the original's list and never one in ours.
        assert tokens == recorded[: len(run["prompt"])] + [i for i in recorded[len(run["prompt"]) :] if i != MASK]
        assert len(playback.passes) == len(playback.calls)
        for call, want in zip(playback.passes, playback.calls):
            n = len(want["input_ids"])
            assert call.ids[-n:] == want["input_ids"][-len(call.ids) :]
            assert visible(call)[-n:] == want["visible"][-len(call.ids) :]
            assert call.start <= want["first_position"]
    elif run["use_kv_cache"]:
        assert tokens == [i for i in run["output"] if i != MASK]  # the right length, though its cache has drifted
    else:
        assert len(run["output"]) > lengths  # masks and tokens twice


@pytest.mark.parametrize("run", RUNS, ids=names(RUNS))
def test_played_back_runs_as_they_should_be(run):
    playback = Playback(run, before=7)
    tokens = decode(run, playback)
    options, start = run["options"], len(run["prompt"])
    assert tokens[:start] == run["prompt"] and len(tokens) == start + options["max_new_tokens"] and MASK not in tokens
    blocks = -(-options["max_new_tokens"] // options["block_size"])
    assert len(playback.passes) <= blocks * options["num_iterations"]
    if run["model"] in SHIFTED:
        # The row of the position before a block predicts its first token.
        assert all(tokens[start + b * options["block_size"]] == 7 for b in range(blocks))
        assert tokens != run["output"] or 7 in run["output"]
    elif not run["quirk"] and MASK not in run["output"]:
        assert tokens == run["output"]


def quirks():
    return [r for r in RUNS if r["quirk"] and r["model"] not in SHIFTED]


@pytest.mark.parametrize("run", quirks(), ids=names(quirks()))
def test_the_last_pass_fills_the_block(run):
    playback = Playback(run)
    tokens = decode(run, playback)
    assert len(playback.passes) == run["options"]["num_iterations"] == 2
    second, start = playback.passes[1], len(run["prompt"])
    rows = playback.cube[1]
    for i, before in enumerate(second.ids[-4:]):
        allowed = rows[i][:MASK]
        assert tokens[start + i] == (before if before != MASK else allowed.index(max(allowed)))


# ---- with the tiny checkpoints ---------------------------------------------------------------------------------------

MODELS = ("llada", "dream", "sdar", "fast_dllm_v2")


class Original(BlockDecoder):
    """Ours with the original's cache: whatever the last pass over a block computed stays, masks or not, and a block
    that is cut by the attention's grid is stored as it is."""

    def _whole(self, end):
        return end

    def _store(self, end, block_id):
        if block_id < 0:
            yield from super()._store(end, block_id)
        self._stored = end

    def _call(self, begin, end, rows, n_store):
        return super()._call(begin, end, rows, end - begin if self.use_kv_cache else 0)


def checkpoint_runs():
    """[(model, run)] without the runs in which the original repeats an unfinished block: 48 of 56"""
    runs = [
        (model, run)
        for model in MODELS
        for run in json.loads((DATA / "sampler" / f"engine-{model}-tiny.json").read_text())
    ]
    assert len(runs) == 56
    return [(model, run) for model, run in runs if not run["quirk"]]


def run_blocks(cls, session, facts, run, sampler_class, use_kv_cache, stop_ids=()):
    options = run["options"]
    keywords = {
        "temperature": 0.0,
        "top_k": options.get("top_k", 0),
        "top_p": options.get("top_p", 1.0),
        "margin_confidence": options.get("margin_confidence", False),
        "neg_entropy": options.get("neg_entropy", False),
    }
    if not sampler_class.per_block:
        keywords["threshold"] = options["confidence_threshold"]
    manager = DiffusionBlockManager(facts.mask_id)
    manager.create_blocks(
        len(run["prompt_ids"]), options["max_new_tokens"], options["block_size"], options["confidence_threshold"]
    )
    calls = []

    def forward(call):
        calls.append(call)
        return session.forward(call.ids, call.start, call.context, call.attn_block, call.n_store, call.rows)

    decoder = cls(
        forward,
        facts,
        sampler_class(facts.mask_id, **keywords),
        manager,
        stop_ids=stop_ids,
        num_iterations=options["num_iterations"],
        use_kv_cache=use_kv_cache,
    )
    for _ in decoder.run(run["prompt_ids"]):
        pass
    return decoder.canvas, calls


@pytest.fixture(scope="module")
def tiny(exported):
    """{model: session of its float file}"""
    import diffulex_edge

    models = {m: diffulex_edge.Model(exported(f"{m}-tiny", "none"), threads=1) for m in MODELS}
    yield {m: model.session() for m, model in models.items()}
    for model in models.values():
        model.close()


def ids_of(runs):
    return [f"{m}-{i % 12}-{'cache' if r['use_kv_cache'] else 'whole'}" for i, (m, r) in enumerate(runs)]


@pytest.mark.parametrize("model,run", checkpoint_runs(), ids=ids_of(checkpoint_runs()))
def test_checkpoint_runs_are_the_originals_but_for_its_faults(tiny, model, run):
    import dataclasses

    session = tiny[model]
    facts = session.model.facts
    # What the original finds as the width of its mask; without its cache 32 where the model names none.
    width = run["model_bd_size"] or 32
    if run["use_kv_cache"] and not facts.attn_block:
        width = 0
    canvas, calls = run_blocks(
        Original,
        session,
        dataclasses.replace(facts, attn_block=width),
        run,
        rotating(get_sampler_class(model)),
        run["use_kv_cache"],
    )
    assert canvas == run["output_ids"]
    assert [[len(c.ids), c.start, visible(c)[0], visible(c)[-1]] for c in calls] == run["calls"]
    assert len(calls) == run["num_forwards"]


@pytest.mark.parametrize("model", ("sdar", "fast_dllm_v2"))
def test_the_cache_of_the_block_sampler_is_exact(tiny, model):
    """Block-causal: the same tokens with and without the cache, also where blocks are cut by the attention's grid."""
    session, n = tiny[model], 0
    for m, run in checkpoint_runs():
        if m == model and run["use_kv_cache"]:
            cached, _ = run_blocks(BlockDecoder, session, session.model.facts, run, get_sampler_class(model), True)
            whole, _ = run_blocks(BlockDecoder, session, session.model.facts, run, get_sampler_class(model), False)
            assert cached == whole
            assert session.model.facts.mask_id not in cached
            assert len(cached) == len(run["prompt_ids"]) + run["options"]["max_new_tokens"]
            n += 1
    assert n == 6
