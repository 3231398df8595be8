"""Exports whose cache is not layout A's, --kv explicit and --kv state: the golden logits in the official runtime, whatever
drives them, and in ours."""
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy
import pytest
from oracles import oracle

import diffulex_edge

torch = oracle("torch", "programs with explicit caches or states are")
oracle("executorch.runtime", "programs with explicit caches or states are")
from executorch.runtime import Runtime, Verification  # noqa: E402
from layout_a import StockRuntime  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from six_inputs import HIDDEN, OriginalDriver, SixInputs, decode  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "data"
MODELS = ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")
CONTEXT = 128
CHECKOUT = os.environ.get("DIFFULEX_CHECKOUT")


@pytest.fixture(scope="module")
def pte(tmp_path_factory):
    """pte(model, form, quantization="none", **options) -> path"""
    folder, paths = tmp_path_factory.mktemp("kv"), {}

    def export(model, form, quantization="none", **options):
        key = "-".join(str(x).replace("/", "_") for x in (model, form, quantization, *options.values()))
        if key not in paths:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                diffulex_edge.export_checkpoint(DATA / "checkpoints" / model, folder / f"{key}.pte",
                                                quantization=quantization, max_seq_len=CONTEXT, kv=form, **options)
            paths[key] = folder / f"{key}.pte"
        return paths[key]

    return export


class StateRuntime:
    """forward(tokens [1,T], positions [T]) -> logits [1,T,V] in the stock runtime; the program keeps its cache."""

    def __init__(self, path):
        self.program = Runtime.get().load_program(str(path), verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")

    def forward(self, ids, start=0, context=None, store=False):
        return self.method.execute([torch.tensor([list(ids)]), torch.arange(start, start + len(ids))])[0][0].clone()

    def block_causal(self, ids, width, start=0):
        return torch.cat([self.forward(ids[p:p + width], start + p) for p in range(0, len(ids), width)])


class NativeMethod(StateRuntime):
    """The same in this library, as a method."""

    def __init__(self, path):
        self.method = diffulex_edge.Method(path, threads=1)

    def forward(self, ids, start=0, context=None, store=False):
        logits = self.method(numpy.array([list(ids)]), numpy.arange(start, start + len(ids)))
        return torch.from_numpy(numpy.array(logits[0]))


class NativeSession:
    """A session over whatever form the cache has."""

    def __init__(self, path):
        self.model = diffulex_edge.Model(path, threads=1)
        self.session = self.model.session()

    def forward(self, ids, start=0, context=(), store=False):
        spans = [(0, start)] if start else []
        return torch.from_numpy(numpy.array(self.session.forward(ids, start, spans, 0, store)))

    def block_causal(self, ids, width, start=0):
        return torch.cat([self.forward(ids[p:p + width], start + p, (), True) for p in range(0, len(ids), width)])


def golden(model):
    cases = json.loads((DATA / "forward" / f"{model}.json").read_text())["cases"]
    tensors = load_file(DATA / "forward" / f"{model}.safetensors")
    for case in cases:
        width = re.fullmatch(r"block_causal\((\d+)\)", case["attention"])
        yield case["input_ids"], int(width[1]) if width else len(case["input_ids"]), tensors[case["name"]]


def relative(a, b):
    return float((a - b).abs().max() / (b.max() - b.min()))


# ---- states ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("runner", [StateRuntime, NativeMethod, NativeSession])
@pytest.mark.parametrize("model", MODELS)
def test_states_give_the_golden_logits(pte, model, runner):
    for ids, width, want in golden(model):
        assert relative(runner(pte(model, "state")).block_causal(ids, width), want) < 1e-4


@pytest.mark.parametrize("runner", [StateRuntime, NativeMethod])
def test_passes_over_a_block_leave_no_trace_in_states(pte, runner):
    """Masks first, then the tokens: what the masks stored lies where the tokens go."""
    ids, width, want = next(golden("sdar-tiny"))
    stock, rows = runner(pte("sdar-tiny", "state")), []
    for p in range(0, len(ids), width):
        for known in range(width):
            stock.forward(ids[p:p + known] + [1226] * (width - known), p)
        rows.append(stock.forward(ids[p:p + width], p))
    assert relative(torch.cat(rows), want) < 1e-4


def test_states_forget_what_lies_behind_the_first_position(pte):
    """A shorter sequence in the same program: rows that the longer one left are not seen."""
    ids, width, want = next(golden("fast_dllm_v2-tiny"))
    stock = StateRuntime(pte("fast_dllm_v2-tiny", "state"))
    stock.block_causal([7] * 100, 20)
    assert relative(stock.block_causal(ids, width), want) < 1e-4


def test_a_state_is_never_written_past_its_end(pte):
    stock = StateRuntime(pte("sdar-tiny", "state"))
    with pytest.raises(RuntimeError):
        stock.forward([1] * 4, CONTEXT - 3)


def test_sessions_answer_with_the_bits_of_the_callers_form(pte):
    for model in MODELS:
        for quantization in ("none", "int8-dynamic"):
            ids, width, _ = next(golden(model))
            logits = [NativeSession(pte(model, form, quantization)).block_causal(ids, width) for form in ("caller", "state")]
            assert torch.equal(*logits), (model, quantization)


def test_the_official_language_model_runner_finds_its_way(pte):
    """ExecuTorch's own runner in C++, from text to text: what it reads in the file is there, and so is memory for results."""
    runner = oracle("executorch.extension.llm.runner", "the runner of language models is")
    checkpoint = DATA / "checkpoints" / "sdar-tiny"
    path, pieces, text = pte("sdar-tiny", "state"), [], "the sum of two"
    runner.TextLLMRunner(str(path), str(checkpoint / "tokenizer.json")).generate(
        text, runner.GenerationConfig(max_new_tokens=8, temperature=0.0, echo=False), pieces.append)
    with diffulex_edge.Tokenizer.from_pte(path) as tokenizer:
        ids = list(tokenizer.encode(text))
        session, row, said = NativeSession(path), NativeSession(path).forward(ids)[-1], []
        session.forward(ids, store=True)
        while len(said) < len(pieces):
            said.append(int(row.argmax()))
            row = session.forward(said[-1:], len(ids) + len(said) - 1, store=True)[-1]
        assert len(pieces) >= 4 and "".join(pieces) == tokenizer.decode(said)


def test_metadata_names_the_form(pte):
    def metadata(form):
        return diffulex_edge.inspect(pte("sdar-tiny", form))["metadata"]
    assert metadata("state")["get_kv_form"] == ["state"] and metadata("explicit")["get_kv_form"] == ["explicit"]
    assert metadata("state")["use_kv_cache"] == [True] and metadata("state")["use_sdpa_with_kv_cache"] == [False]
    assert metadata("state")["enable_dynamic_shape"] == [True] and metadata("explicit")["enable_dynamic_shape"] == [False]
    assert not {"get_kv_form", "use_kv_cache"} & set(metadata("caller"))


def test_memory_of_states_is_stated(pte):
    described = diffulex_edge.inspect_method(pte("sdar-tiny", "state"), "forward")
    assert described["memory"]["states"] == 2 * 2 * CONTEXT * 2 * 32 * 4


# ---- the six inputs --------------------------------------------------------------------------------------------------

DRIVERS = {"right masks": SixInputs,
           **{f"the original's, {n} slots": lambda path, n=n: OriginalDriver(path, n) for n in (16, 32, 128, 130, 32768)}}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("model", MODELS)
def test_explicit_caches_give_the_golden_logits(pte, model, driver):
    """Under masks as they should be, and under those of the original's driver, which show slots that hold nothing and rows
    that pad a call, and for some numbers of slots hide the call's own rows."""
    n = 0
    for ids, width, want in golden(model):
        stock = DRIVERS[driver](pte(model, "explicit", max_rows=width if width == len(ids) else 0))
        if width <= stock.rows:
            n += 1
            assert relative(stock.block_causal(ids, width), want) < 1e-4
    assert n >= 2


def test_a_call_that_stores_nothing_returns_the_cache_as_it_was(pte):
    stock = SixInputs(pte("sdar-tiny", "explicit"))
    stock.forward([5, 6, 7, 8], store=True)
    before = stock.cache.clone()
    _, after = stock.run([9, 9, 9, 9], 4, *stock.masks(4, 4, 0, range(4)))
    assert before.abs().sum() > 0 and torch.equal(before, after)


@pytest.mark.parametrize("hidden", [HIDDEN, -float("inf"), -1e30])
def test_a_mask_inside_a_call_counts(pte, hidden):
    """Blocks of 4 in a call of 8 rows that are all stored, hidden with any number that hides."""
    ids, width, want = next(golden("sdar-tiny"))
    stock, rows = SixInputs(pte("sdar-tiny", "explicit", max_rows=8)), []
    for p in range(0, len(ids), 8):
        mask, insert, keep = stock.masks(p, 8, 8, range(p))
        mask[mask == HIDDEN] = hidden
        mask[..., :4, CONTEXT + 4:] = hidden
        logits, stock.cache = stock.run(ids[p:p + 8], p, mask, insert, keep)
        rows.append(logits)
    assert relative(torch.cat(rows), want) < 1e-4


def test_other_rows_than_a_block_are_noticed(tmp_path):
    for rows, sentences in ((8, 1), (4, 0), (0, 0)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", tmp_path / "x.pte", kv="explicit",
                                            max_rows=rows)
        assert ["max_rows 4 decodes as the model was trained" in str(w.message) for w in said] == [True] * sentences


def test_rows_that_pad_a_call_may_lie_behind_the_context(pte):
    stock = OriginalDriver(pte("sdar-tiny", "explicit"), CONTEXT)
    assert stock.forward([5, 6], CONTEXT - 2, range(CONTEXT - 2)).isfinite().all()


@pytest.mark.parametrize("slots", [32, CONTEXT, 32768])
@pytest.mark.parametrize("model", ["sdar-tiny", "llada-tiny"])
def test_the_originals_way_to_decode_gives_the_tokens_of_exact_logits(pte, model, slots):
    facts = diffulex_edge.Model(pte(model, "caller")).facts
    for prompt in ([5, 7, 9, 11, 13, 15], []):
        exact = decode(NativeSession(pte(model, "caller")), prompt, 14, 4, facts.mask_id)
        assert decode(OriginalDriver(pte(model, "explicit", max_rows=4), slots), prompt, 14, 4, facts.mask_id) == exact
        assert len(exact) == len(prompt) + 14 and facts.mask_id not in exact[len(prompt):]


def without_ours(program):
    """Runs it where our package is not found."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.mark.skipif(not CHECKOUT, reason="needs a checkout of the original system: set DIFFULEX_CHECKOUT to its folder")
@pytest.mark.parametrize("model", MODELS)
def test_the_originals_engine_decodes_the_tokens_of_exact_logits(pte, model):
    """The engine itself, whatever it takes for the number of slots, beside its way to decode over exact logits."""
    program = f"""
import sys
sys.path.insert(0, {CHECKOUT!r})
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
for slots in (None, 32, {CONTEXT}):
    engine = DiffusionEngine.from_pte({str(pte(model, "explicit", max_rows=4 if model != "fast_dllm_v2-tiny" else 32))!r},
                                      model_type={model[:-5]!r}, max_seq_len=slots)
    engine.block_manager.mask_token_id = {diffulex_edge.Model(pte(model, "caller")).facts.mask_id}
    config = DiffusionGenerationConfig(max_new_tokens=12, num_iterations=10, block_size=4, confidence_threshold=0.9,
                                       temperature=0.0)
    print(engine.generate([5, 7, 9, 11, 13, 15], config))
"""
    done = without_ours(program)
    got = [json.loads(line) for line in done.stdout.strip().splitlines()[-3:]]
    facts = diffulex_edge.Model(pte(model, "caller")).facts
    shifted = model in ("dream-tiny", "fast_dllm_v2-tiny")
    want = decode(NativeSession(pte(model, "caller")), [5, 7, 9, 11, 13, 15], 12, 4, facts.mask_id, threshold=0.9,
                  shifted=shifted)
    assert got == [want] * 3


# ---- the six inputs in sessions --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["six_inputs", "six_inputs_single_head", "six_inputs_portable", "six_inputs_float16",
                                  "six_inputs_int8"])
def test_programs_of_the_originals_contract_run_in_sessions(name):
    """As PyTorch's exporter writes them: logits of the official runtime under right masks, in calls of a block and in one."""
    path = DATA / "foreign" / f"{name}.pte"
    ids = [(7 * i + 3) % 40 for i in range(12)]
    stock = SixInputs(path)
    want = stock.block_causal(ids, stock.rows)
    with diffulex_edge.Model(path) as model:
        facts = model.facts
        assert (facts.family, facts.max_context, facts.max_rows, facts.block_length) == ("unknown", 12, 12, stock.rows)
        assert relative(NativeSession(path).block_causal(ids, stock.rows), want) < 1e-5
        for kv_type, bound in (("float32", 1e-5), ("float16", 1e-2)):
            session = model.session(kv_type=kv_type)
            got = session.forward(ids, attn_block=stock.rows, store=True)
            assert relative(torch.from_numpy(numpy.array(got)), want) < bound
        with model.workspace(max_sessions=2) as workspace:
            parent = workspace.session()
            parent.forward(ids[:6], store=True, attn_block=stock.rows)
            fork = parent.fork(6)
            rows = [numpy.array(s.forward(ids[6:], 6, attn_block=stock.rows)) for s in (parent, fork)]
            assert numpy.array_equal(*rows)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quantization", ["none", "int8-dynamic"])
def test_explicit_files_run_in_sessions(pte, model, quantization):
    """With the bits of the caller's form, all rows in one call where attention is full, and the same answers."""
    paths = [pte(model, form, quantization) for form in ("caller", "explicit", "state")]
    models = [diffulex_edge.Model(path) for path in paths]
    ids = next(golden(model))[0]
    logits = [numpy.array(m.session().forward(ids, store=True)) for m in models]
    assert numpy.array_equal(logits[0], logits[1]) and numpy.array_equal(logits[0], logits[2])
    answers = [diffulex_edge.generate(m.session(), ids[:8], max_new_tokens=32).output_ids for m in models]
    assert answers[0] == answers[1] == answers[2]
    assert [m.facts.max_rows for m in models][:2] == [CONTEXT, CONTEXT]


@pytest.mark.parametrize("form", ["explicit", "state"])
def test_engines_and_the_program_take_every_form(pte, form):
    from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig, InferenceEngine
    config = DiffusionGenerationConfig(max_new_tokens=8, temperature=0.0)
    answers = []
    for path in (pte("sdar-tiny", "caller"), pte("sdar-tiny", form)):
        done = subprocess.run([os.environ["DLX_CLI"], "generate", path, "--token-ids", "5,7,9", "--max-new-tokens", "8"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers.append((DiffusionEngine.from_pte(path).generate([5, 7, 9], config),
                        InferenceEngine.from_pte(path).generate([5, 7, 9], config), done.stdout))
    assert answers[0] == answers[1]


def test_engines_take_programs_of_the_originals_contract():
    """They name no family, so that is the caller's to say; a block is what a call of the program takes."""
    from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
    path = DATA / "foreign" / "six_inputs.pte"
    engine = DiffusionEngine.from_pte(path, model_type="fast_dllm_v2")
    config = DiffusionGenerationConfig(max_new_tokens=6, block_size=4, num_iterations=8, temperature=0.0, mask_token_id=39)
    ids = engine.generate([5, 7, 9, 11], config)
    assert ids[:4] == [5, 7, 9, 11] and len(ids) == 10
    facts = engine._known_facts(39, ids)
    assert (facts.attn_block, facts.block_length, facts.mask_id) == (4, 4, 39)


def test_memory_of_a_session_is_that_of_layout_a(pte):
    stated = [diffulex_edge.inspect(pte("sdar-tiny", form))["memory"] for form in ("caller", "explicit")]
    assert stated[0]["kv_cache"] == stated[1]["kv_cache"] and stated[0]["packed"] == stated[1]["packed"]


def in_the_original(program):
    """Runs it with the original's package, where models = {family: function that makes a small one}."""
    prelude = f"""
import sys, torch
sys.path.insert(0, {CHECKOUT!r})
from diffulex_edge.model.dream_edge import DreamEdge, DreamEdgeConfig
from diffulex_edge.model.sdar_edge import SDAREdge, SDAREdgeConfig
from diffulex_edge.model import fast_dllm_v2_edge as fast
torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
             intermediate_size=48, max_position_embeddings=32)
name = next(n for n in dir(fast) if n.endswith("EdgeConfig"))
models = {{"sdar": lambda: SDAREdge(SDAREdgeConfig(**sizes)), "dream": lambda: DreamEdge(DreamEdgeConfig(**sizes)),
           "fast_dllm_v2": lambda: getattr(fast, name[:-6])(getattr(fast, name)(**sizes, bd_size=8))}}
"""
    without_ours(prelude + program)


@pytest.mark.skipif(not CHECKOUT, reason="needs a checkout of the original system: set DIFFULEX_CHECKOUT to its folder")
def test_files_that_the_original_exported_run_in_sessions(tmp_path):
    in_the_original(f"""
from diffulex_edge.backends.base import BackendConfig
from diffulex_edge.backends.xnnpack_backend import XNNPACKBackend
for family, make in models.items():
    model = make()
    # The default planner fails with current packages.
    backend = XNNPACKBackend(BackendConfig(memory_planning="linear_scan"))
    result = backend.export(model.eval(), model.get_export_inputs(batch_size=1, seq_len=6))
    assert result.success, result.error_message
    open({str(tmp_path)!r} + f"/{{family}}.pte", "wb").write(result.buffer)
""")
    for family in ("sdar", "dream", "fast_dllm_v2"):
        path = tmp_path / f"{family}.pte"
        stock = SixInputs(path)
        ids = [(7 * i + 3) % 64 for i in range(24)]
        want = stock.block_causal(ids, stock.rows)
        assert relative(NativeSession(path).block_causal(ids, stock.rows), want) < 1e-5
        rows = diffulex_edge.Model(path).session().forward(ids, attn_block=stock.rows)
        assert relative(torch.from_numpy(numpy.array(rows)), want) < 1e-5


@pytest.mark.skipif(not CHECKOUT, reason="needs a checkout of the original system: set DIFFULEX_CHECKOUT to its folder")
@pytest.mark.parametrize("quantization", ["fp16", "weight_only_int8"])
@pytest.mark.parametrize("family", ["sdar", "dream", "fast_dllm_v2"])
def test_quantised_files_that_the_original_exported_run_in_sessions(tmp_path, family, quantization):
    """Its other int8 types write the same. Activations are floats in both, so logits agree as those of float32 files do."""
    in_the_original(f"""
from diffulex_edge.export import BackendType, DiffuLexExporter, ExportConfig, QuantizationType
from pathlib import Path
config = ExportConfig(output_path=Path({str(tmp_path / "x.pte")!r}), backend=BackendType("xnnpack"),
                      quantization=QuantizationType({quantization!r}), memory_planning="linear_scan", max_seq_len=32)
model = models[{family!r}]().eval()
result = DiffuLexExporter(config).export(model, model.get_export_inputs(batch_size=1, seq_len=6))
assert result.success, result.error_message
""")
    path = tmp_path / "x.pte"
    stock = SixInputs(path)
    ids = [(7 * i + 3) % 64 for i in range(24)]
    want = stock.block_causal(ids, stock.rows)
    assert relative(NativeSession(path).block_causal(ids, stock.rows), want) < 1e-5
    shifted = family != "sdar"
    answers = [decode(runner(path), ids[:6], 12, stock.rows, 63, shifted=shifted)
               for runner in (SixInputs, NativeSession)]
    assert answers[0] == answers[1]


# ---- every scheme ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["explicit", "state"])
@pytest.mark.parametrize("scheme", [s.name for s in diffulex_edge.export_schemes() if "xnnpack" in s.backends])
def test_every_scheme_answers_as_in_the_callers_form(pte, scheme, form):
    """The same integers but for rounding ties of an activation, which another order of sums in the attention moves: a few
    logits differ, nearly all agree closely."""
    model, width = "sdar-tiny", 4
    ids = next(golden(model))[0]
    try:
        path = pte(model, "caller", scheme)
    except diffulex_edge.UnsupportedError as error:
        assert "group" in str(error)    # the same for every form
        pytest.skip(f"no tiny checkpoint has such rows: {error}")
    want = StockRuntime(path, CONTEXT).block_causal(ids, width)
    got = (SixInputs if form == "explicit" else StateRuntime)(pte(model, form, scheme)).block_causal(ids, width)
    native = NativeSession(pte(model, form, scheme)).block_causal(ids, width)
    assert torch.equal(native, NativeSession(path).block_causal(ids, width))
    worst = (got - want).abs().amax(-1)
    top = want.topk(2, -1).values
    clear = top[:, 0] - top[:, 1] > 2 * worst
    assert float(worst.median()) < 5e-3 * float(want.max() - want.min())
    assert torch.equal(got.argmax(-1)[clear], want.argmax(-1)[clear]) and float(clear.float().mean()) > 0.8


@pytest.mark.parametrize("form", ["explicit", "state"])
@pytest.mark.parametrize("scheme", ["int4-g32", "int8-dynamic", "int8-static"])
def test_weights_that_gptq_found_answer_as_in_the_callers_form(pte, tmp_path, scheme, form):
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"ids": [5 + 7 * i % 300 for i in range(48)]}) + "\n")
    options = {"rounding": "gptq", "calibration": data, "calibration_samples": 4}
    ids, width, _ = next(golden("sdar-tiny"))
    caller, other = (pte("sdar-tiny", kv, scheme, **options) for kv in ("caller", form))
    native = NativeSession(other).block_causal(ids, width)
    assert torch.equal(native, NativeSession(caller).block_causal(ids, width))
    rounded = NativeSession(pte("sdar-tiny", form, scheme, **({} if scheme != "int8-static" else {"calibration": data})))
    assert not torch.equal(native, rounded.block_causal(ids, width))
    want = StockRuntime(caller, CONTEXT).block_causal(ids, width)
    got = (SixInputs if form == "explicit" else StateRuntime)(other).block_causal(ids, width)
    worst = (got - want).abs().amax(-1)
    assert float(worst.median()) < 5e-3 * float(want.max() - want.min())


@pytest.mark.parametrize("embedding", ["int4", "int4-g32", "int8-dynamic"])
def test_every_form_of_the_embedding_table(pte, embedding, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"default": "int8-dynamic", "embedding": embedding}))
    ids, width, _ = next(golden("sdar-tiny"))
    runs = []
    for form, runner in (("caller", lambda p: StockRuntime(p, CONTEXT)), ("state", StateRuntime), ("explicit", SixInputs)):
        path = tmp_path / f"{form}.pte"
        diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", path, max_seq_len=CONTEXT, kv=form,
                                        quantization_config=tmp_path / "recipe.json")
        runs.append((runner(path).block_causal(ids, width), NativeSession(path).block_causal(ids, width)))
    for stock, native in runs[1:]:
        assert torch.equal(stock, runs[0][0]) or relative(stock, runs[0][0]) < 2e-2
        assert torch.equal(native, runs[0][1])
