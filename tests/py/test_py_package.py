"""The Python package over the library: layouts, functions, errors, models, sessions, completions, streams, export."""

import ctypes
import gc
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from exported_files import DATA, MODELS, exported  # noqa: F401 - a fixture
from oracles import not_here, oracle, required

import diffulex_edge
from diffulex_edge import _native, running

ROOT = Path(__file__).resolve().parent.parent.parent
HEADERS = sorted((ROOT / "include" / "diffulex_edge").glob("*.h"))


def run_python(code, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


# ---- the mirror of the headers ---------------------------------------------------------------------------------------


def structures():
    """{C name: class}"""
    out = {}
    for name, cls in vars(_native).items():
        if inspect.isclass(cls) and issubclass(cls, ctypes.Structure) and hasattr(cls, "_fields_"):
            out["dlx_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()] = cls
    return out


def test_layouts_are_those_of_the_headers(tmp_path):
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        not_here("there is no C compiler: layouts are NOT compared with the headers")
    lines, want = [], []
    for name, cls in structures().items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        want.append(f"{name} {ctypes.sizeof(cls)}")
        for field, *_ in cls._fields_:
            member = getattr(cls, field)
            lines.append(
                f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));'
            )
            want.append(f"{name}.{field} {member.offset} {member.size}")
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <diffulex_edge/diffulex_edge.h>\n"
        "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n"
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, "-std=c11", f"-I{ROOT / 'include'}", str(source), "-o", str(program)], check=True)
    assert subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.split("\n")[:-1] == want
    assert len(structures()) == 43


def header_text():
    text = "\n".join(h.read_text() for h in HEADERS)
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def test_every_public_function_is_declared_with_its_parameters():
    found = {}
    for name, parameters in re.findall(r"DLX_API[^;{(]*?\b(dlx_\w+)\s*\(([^;]*?)\)\s*;", header_text()):
        found[name] = 0 if parameters.strip() == "void" else parameters.count(",") + 1
    assert {n: len(a) for n, (_, a) in _native.FUNCTIONS.items()} == found


def test_every_public_structure_is_mirrored():
    names = set(re.findall(r"typedef struct (dlx_\w+) \{", header_text()))
    assert names == set(structures())


def test_status_numbers_have_their_exceptions():
    numbers = dict(
        (int(n), name)
        for name, n in re.findall(r"X\((DLX_\w+), (\d+),", (ROOT / "include/diffulex_edge/status.h").read_text())
    )
    from diffulex_edge.errors import STATUS_CLASSES

    assert set(STATUS_CLASSES) == set(numbers) - {0}
    for number, cls in STATUS_CLASSES.items():
        assert cls.status == number


def test_version():
    assert diffulex_edge.library_version() == diffulex_edge.__version__
    project = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(r"project\(diffulex_edge VERSION ([\d.]+)", project)[1] == diffulex_edge.__version__


# ---- importing -------------------------------------------------------------------------------------------------------


def test_importing_needs_neither_arrays_nor_the_library():
    code = """
import sys
for name in ("numpy", "torch", "executorch", "safetensors"):
    sys.modules[name] = None
import diffulex_edge, diffulex_edge.runtime, diffulex_edge.export, diffulex_edge.quant, diffulex_edge.model
import diffulex_edge.backends, diffulex_edge.scripts.export_model
assert sorted(diffulex_edge.__all__) == diffulex_edge.__all__
assert not set(diffulex_edge.__all__) - set(dir(diffulex_edge))
for name in diffulex_edge.__all__:
    if name != "library_version":
        getattr(diffulex_edge, name)
try:
    diffulex_edge.Model("x.pte")
except FileNotFoundError as error:
    assert str(error) == "PTE file not found: x.pte"
try:
    diffulex_edge.library_version()
except diffulex_edge.LibraryNotFoundError as error:
    print(error)
"""
    done = run_python(code, DLX_LIBRARY="/nowhere/lib.so")
    assert done.returncode == 0, done.stderr
    assert "DLX_LIBRARY=/nowhere/lib.so" in done.stdout and "build it with CMake" in done.stdout


def test_a_model_is_imported_without_an_event_loop():
    """It would be the largest part of what importing takes, and only `async for` needs it."""
    done = run_python("import sys, diffulex_edge; diffulex_edge.Model; assert 'asyncio' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_library_is_refused(tmp_path):
    file = tmp_path / "libdiffulex_edge.so"
    file.write_bytes(b"no library")
    done = run_python("import diffulex_edge; diffulex_edge.library_version()", DLX_LIBRARY=str(file))
    assert "LibraryNotFoundError" in done.stderr and "cannot be loaded" in done.stderr


def test_unknown_names():
    with pytest.raises(AttributeError):
        diffulex_edge.nothing  # noqa: B018


# ---- models and sessions ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sdar(exported):
    with diffulex_edge.Model(exported("sdar-tiny"), threads=1) as model:
        yield model


def test_facts_memory_and_kernels(sdar):
    facts = sdar.facts
    assert (facts.family, facts.vocab_size, facts.mask_id, facts.attn_block, facts.logits_shift) == (
        "sdar",
        1280,
        1226,
        4,
        0,
    )
    assert facts.stop_ids == (1202, 1200) and facts.max_context == 128
    assert diffulex_edge.ModelFacts.from_native(facts.to_native()) == facts
    memory, half = sdar.memory(), sdar.memory(max_context=64)
    assert 1_000_000 > memory.file > 500_000 and memory.kv_cache == 2 * half.kv_cache > 0 and memory.activations > 0
    assert sdar.kernels in ("ref", "avx2", "avx-vnni", "avx512", "avx512vnni", "amx", "neon", "neon-dotprod")


def test_metadata_gives_the_same_facts(exported):
    for name in MODELS:
        report = diffulex_edge.inspect(exported(f"{name}-tiny"))
        with diffulex_edge.Model(exported(f"{name}-tiny")) as model:
            assert diffulex_edge.ModelFacts.from_metadata(report["metadata"]) == model.facts


def test_forward_stores_and_sees(sdar):
    numpy = oracle("numpy", "arrays of logits are")
    ids = [1201, 661, 198, 484, 25, 220, 21, 293]
    with sdar.session() as session:
        whole = session.forward(ids, store=True)
        assert whole.shape == (8, 1280) and whole.dtype == numpy.float32
        # The last token of a prompt always runs: its row may predict the first new one.
        assert session.reusable(ids + [5]) == 8 and session.reusable(ids) == 4
        assert session.reusable(ids[:6] + [5, 5, 5]) == 4
        again = session.forward(ids[4:], 4, rows=[1, 3])
        assert numpy.array_equal(again, whole[[5, 7]])
        session.truncate(4)
        assert session.reusable(ids + [5]) == 4
        with pytest.raises(ValueError):
            session.forward([1], 8)  # [0, 8) is no longer stored
        session.truncate(0)
        leading = session.forward(ids, store=4)
        assert numpy.array_equal(leading, whole) and session.reusable(ids + [5]) == 4


def test_wrong_calls(sdar):
    with sdar.session() as session:
        for keywords in (
            {"ids": [5000]},
            {"ids": [1], "start": 500},
            {"ids": [1], "context": [(0, 1), (1, 2), (2, 3)]},
            {"ids": ["a"]},
            {"ids": [1.5]},
            {"ids": [2**40]},
            {"ids": []},
            {"ids": 5},
        ):
            with pytest.raises(ValueError):
                session.forward(**keywords)
    with pytest.raises(ValueError, match="closed"):
        session.forward([1])
    session.close()


def test_closing_order_and_garbage(exported):
    model = diffulex_edge.Model(exported("sdar-tiny"))
    session = model.session()
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        session.forward([1])
    with pytest.raises(ValueError, match="closed"):
        model.session()
    model = diffulex_edge.Model(exported("sdar-tiny"))
    model.generate([5, 6, 7], max_new_tokens=2)  # leaves an idle session behind
    gone = weakref.ref(model)
    freed = model._handle._done
    del model, session
    gc.collect()
    assert gone() is None and freed


def test_a_session_is_for_one_thread_at_a_time(sdar):
    with sdar.session() as session:
        caught = []

        def on_step(step, ids):
            with pytest.raises(RuntimeError, match="in use"):
                session.forward([1])
            thread = threading.Thread(target=lambda: caught.append(_raises(RuntimeError, session.truncate, 0)))
            thread.start()
            thread.join()
            return False

        session.generate([5, 6, 7], max_new_tokens=4, on_step=on_step)
        assert caught == [True]
        session.forward([1])


def _raises(kind, function, *arguments):
    try:
        function(*arguments)
    except kind:
        return True
    return False


def test_models_are_shared_between_threads(sdar):
    prompt, want, got = [1201, 661, 198, 484], None, []
    want = sdar.generate(prompt, max_new_tokens=12).ids

    def work():
        for _ in range(4):
            got.append(sdar.generate(prompt, max_new_tokens=12).ids)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [want] * 12


@pytest.mark.parametrize(
    "damage", (lambda b: b[:1000], lambda b: b"\0" * len(b), lambda b: b[:100] + b"\xff" * 400 + b[500:])
)
def test_damaged_files_are_refused(exported, tmp_path, damage):
    path = tmp_path / "bad.pte"
    path.write_bytes(damage(exported("sdar-tiny").read_bytes()))
    with pytest.raises(RuntimeError) as info:
        diffulex_edge.Model(path)
    assert isinstance(info.value, diffulex_edge.DlxError) and str(info.value)


def test_paths(exported, tmp_path):
    odd = tmp_path / "Modèle 雪.pte"
    odd.write_bytes(exported("sdar-tiny").read_bytes())
    with diffulex_edge.Model(odd) as model:
        assert model.facts.family == "sdar"
    with pytest.raises(FileNotFoundError, match="PTE file not found: .*nowhere.pte"):
        diffulex_edge.Model(tmp_path / "nowhere.pte")
    for opens in (diffulex_edge.Model, diffulex_edge.Method, diffulex_edge.Tokenizer.from_pte, diffulex_edge.inspect):
        with pytest.raises(IsADirectoryError, match="is a folder, not a .pte"):
            opens(tmp_path)
    with pytest.raises(ValueError):
        diffulex_edge.export_checkpoint("a\0b", tmp_path / "x.pte")
    with pytest.raises(ValueError, match="the path holds a NUL character"):
        diffulex_edge.Model("a\0b")
    with diffulex_edge.Model(os.fsencode(odd)) as model:
        assert model.path == str(odd) and repr(model).startswith("<Model Modèle 雪.pte: sdar")


# ---- decoding --------------------------------------------------------------------------------------------------------


def test_options_by_any_of_their_names(exported):
    with diffulex_edge.Model(exported("sdar-tiny")) as model, model.session() as session:
        a = session.generate(
            [1201, 661, 198, 484, 25], algorithm="sdar.generate", gen_length=8, block_length=4, denoising_steps=4
        )
        b = session.generate(
            [1201, 661, 198, 484, 25],
            options={"algorithm": "sdar.generate", "gen-length": "8", "block_length": 4, "denoising_steps": 4},
        )
    assert a.output_ids == b.output_ids and a.algorithm == "sdar.generate"
    assert a.num_forwards >= len([s for s in a.steps if s.accepted]) > 0
    known = sorted(x.position for s in a.steps for x in s.accepted)
    assert known == list(range(5, len(a.output_ids)))


def test_option_table_and_wrong_options(sdar):
    names = {o.name: o for o in diffulex_edge.decode_options()}
    assert names["temperature"].kind == "float" and names["algorithm"].algorithms == ("all",)
    with sdar.session() as session:
        for wrong in (
            {"nonsense": 1},
            {"temperature": -1},
            {"temperature": "warm"},
            {"algorithm": "dream.generate_blocks"},
            {"cfg_scale": 1.0},
            {"max_new_tokens": 100000},
        ):
            with pytest.raises(ValueError, match=next(iter(wrong)) if "algorithm" not in wrong else "algorithm"):
                session.generate([5, 6], **wrong)
        for prompt in ([], [99999], [-1], list(range(200))):
            with pytest.raises(ValueError):
                session.generate(prompt)
    assert session.model.generate([5, 6], max_new_tokens=4, temperature=None).statistics.prompt_tokens == 2


def test_cancel_and_exceptions_in_callbacks(sdar):
    with sdar.session() as session:
        seen = []

        def stop(step, ids):
            seen.append((step, ids))
            return len(seen) < 3

        generation = session.generate([5, 6, 7, 8], max_new_tokens=32, stop_ids=[], on_step=stop)
        assert generation.finish_reason == "cancelled" and len(generation.steps) == len(seen) == 3
        assert sdar.facts.mask_id not in generation.answer_ids

        def fail(step, ids):
            raise ZeroDivisionError("mine")

        with pytest.raises(ZeroDivisionError, match="mine"):
            session.generate([5, 6, 7], on_step=fail)

        def interrupt(step, ids):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            session.complete([5, 6, 7], on_step=interrupt)
        assert session.generate([5, 6, 7], max_new_tokens=4).finish_reason in ("stop", "length")


# ---- completions -----------------------------------------------------------------------------------------------------

PROMPT = [1201, 661, 198, 361, 258, 362, 302, 564, 280, 258, 458, 312, 259, 456, 1202, 198, 1201, 711, 198]


def test_completion_text_and_statistics(sdar):
    pieces = []
    completion = sdar.generate(PROMPT, max_new_tokens=16, on_text=lambda t: pieces.append(t))
    assert completion.text == str(completion) == "".join(pieces) and completion.text
    assert completion.ids == completion.generation.answer_ids
    assert completion.text == sdar.tokenizer().decode(completion.ids, skip_special=True)
    numbers = completion.statistics
    assert (
        numbers.prompt_tokens == len(PROMPT)
        and numbers.new_tokens == len(completion.ids)
        and numbers.cached_tokens == 0
    )
    assert numbers.forwards == completion.generation.num_forwards
    assert numbers.rows == sum(s.rows for s in completion.generation.steps)
    assert numbers.cached_rows == sum(s.cached for s in completion.generation.steps)
    assert 0 < numbers.tokens_per_forward and 0 < numbers.cache_hit_rate < 1 and numbers.decode_ms > 0


def test_stop_strings(sdar):
    whole = sdar.generate(PROMPT, max_new_tokens=24)
    cut = whole.text[len(whole.text) // 2 :][:3]
    short = sdar.generate(PROMPT, max_new_tokens=24, stop=[cut, "never there"])
    assert short.text == whole.text[: whole.text.index(cut)] and short.finish_reason == "stop"
    assert sdar.generate(PROMPT, max_new_tokens=24, stop=cut).text == short.text
    for wrong in ("", ["a", ""], ["a\0b"], [5]):
        with pytest.raises(ValueError, match="stop string"):
            sdar.generate(PROMPT, stop=wrong)


def test_streams(sdar):
    whole = sdar.generate(PROMPT, max_new_tokens=24)
    with sdar.stream(PROMPT, max_new_tokens=24) as stream:
        assert stream.completion is None
        pieces = list(stream)
        assert "".join(pieces) == whole.text and len(pieces) > 1
        assert stream.completion.ids == whole.ids
        assert list(stream) == []
    stream = sdar.stream(PROMPT, max_new_tokens=24, stop_ids=[], on_step=lambda step, ids: None)
    first = next(stream)
    stream.close()
    stream.close()
    assert stream.completion.finish_reason in ("cancelled", "length") and stream.completion.text.startswith(first)
    with pytest.raises(ValueError, match="temperature"):
        list(sdar.stream(PROMPT, temperature=-1))


def test_a_sessions_stream_is_stream_with_it(sdar):
    with sdar.session() as session:
        for function in (session.stream, lambda prompt, **k: diffulex_edge.stream(session, prompt, tokenizer=sdar.tokenizer(), **k)):
            session.truncate(0)
            with function(PROMPT, max_new_tokens=24) as stream:
                assert "".join(stream) == stream.completion.text == sdar.generate(PROMPT, max_new_tokens=24).text
            with pytest.raises(ValueError, match=r"a stream hands out the text itself; use complete\(\) with on_text"):
                function(PROMPT, on_text=print)


def test_a_stream_that_is_dropped_ends(sdar):
    before = threading.active_count()
    for _ in range(3):
        stream = sdar.stream(PROMPT, max_new_tokens=60, stop_ids=[])
        next(stream)
        del stream
        gc.collect()
    until = time.monotonic() + 20
    while running._jobs and time.monotonic() < until:
        time.sleep(0.01)
    assert not running._jobs and threading.active_count() <= before + 4     # which wait for the next job


def test_reuse_of_a_history_is_exact(sdar):
    with sdar.session() as session:
        first = session.complete(PROMPT, max_new_tokens=8, stop_ids=[])
        longer = PROMPT + first.ids + [1202, 198, 1201, 661, 198]
        reused = session.complete(longer, reuse=True, max_new_tokens=8)
        assert reused.statistics.cached_tokens >= len(PROMPT) // 4 * 4
        with sdar.session() as fresh:
            want = fresh.complete(longer, max_new_tokens=8)
        assert reused.ids == want.ids and reused.text == want.text
        assert reused.statistics.rows < want.statistics.rows


def test_messages_as_clients_keep_them(sdar):
    """What the OpenAI client returns: model_dump(), objects with it, parts of text, null beside tool calls."""
    import dataclasses

    @dataclasses.dataclass
    class Plain:
        role: str
        content: str

    class Dumps:
        def model_dump(self):
            return {"role": "assistant", "content": "yo", "refusal": None, "annotations": [], "audio": None,
                    "function_call": None, "tool_calls": None}

    want = sdar.prompt_ids([{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "yo"},
                            {"role": "user", "content": "bye"}])
    parts = [{"type": "text", "text": "hi "}, {"type": "text", "text": "there"}]
    assert sdar.prompt_ids([{"role": "user", "content": parts}, Dumps(), {"role": "user", "content": "bye"}]) == want
    tokenizer = sdar.tokenizer()
    assert tokenizer.apply_chat_template([Plain("user", "hi there"), Dumps(), Plain("user", "bye")]) == want
    assert tokenizer.apply_chat_template(
        '[{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "yo"}, '
        '{"role": "user", "content": "bye"}]') == want
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    text = diffulex_edge.render_chat(tokenizer, [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"}])
    assert '{"name": "f", "arguments": {}}' in text and "None" not in text
    for wrong in ({"role": "user"}, [1], [{"content": "x"}], [{"role": "user", "content": object()}]):
        with pytest.raises(ValueError):
            tokenizer.apply_chat_template(wrong)
    with pytest.raises(ValueError, match="image_url"):
        tokenizer.apply_chat_template([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}])
    with pytest.raises(RuntimeError, match="line 2"):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], chat_template="\n{{ x | nope }}")


def test_prompts_of_every_kind(sdar):
    tokenizer = sdar.tokenizer()
    ids = sdar.prompt_ids("count to 3")
    assert ids == tokenizer.apply_chat_template([{"role": "user", "content": "count to 3"}])
    assert sdar.prompt_ids([{"role": "user", "content": "count to 3"}]) == ids
    assert sdar.prompt_ids("count to 3", chat=False) == tokenizer.encode("count to 3")
    assert sdar.prompt_ids("<|MASK|>", special=True) == [sdar.facts.mask_id]
    assert sdar.facts.mask_id not in sdar.prompt_ids("<|MASK|>")
    assert sdar.prompt_ids(ids) == ids
    assert sdar.prompt_ids("count to 3", enable_thinking=False) == ids + tokenizer.encode(
        "<think>\n\n</think>\n\n", special=True)
    assert sdar.prompt_ids("count to 3", chat_template_kwargs={"enable_thinking": False}) == sdar.prompt_ids(
        "count to 3", enable_thinking=False)
    short = {"max_new_tokens": 8, "chat_template": "{{ messages[0].content ~ more }}",
             "chat_template_kwargs": {"more": "!"}}
    assert sdar.generate("count to 3", **short).ids == sdar.generate(
        "count to 3!", chat=False, max_new_tokens=8).ids
    assert "".join(sdar.stream("count to 3", **short)) == str(sdar.generate("count to 3", **short))
    assert sdar.generate("count to 3", max_new_tokens=8).ids == sdar.generate(ids, max_new_tokens=8).ids


def test_tokenizer_round_trips(exported):
    vectors = ["Hello world", "naïve café 雪 🙂", "", "  two  spaces\n\tand a tab", "\ud800 lone"]
    for name in MODELS:
        with (
            diffulex_edge.Tokenizer.from_pte(exported(f"{name}-tiny")) as tokenizer,
            diffulex_edge.Tokenizer.from_folder(DATA / "checkpoints" / f"{name}-tiny") as folder,
        ):
            packed = diffulex_edge.Tokenizer.from_packed(folder.pack())
            for text in vectors:
                ids = tokenizer.encode(text)
                assert ids == folder.encode(text) == packed.encode(text)
                stream = tokenizer.stream()
                assert "".join([*(stream.push([i]) for i in ids), stream.flush()]) == tokenizer.decode(ids)
                if text.isascii():
                    assert tokenizer.decode(ids) == text
            assert tokenizer.mask_id == folder.mask_id and len(tokenizer) == len(folder)
            packed.close()
        with pytest.raises(ValueError, match="closed"):
            tokenizer.encode("x")


# ---- export ----------------------------------------------------------------------------------------------------------


def test_export_reports_and_cancels(tmp_path):
    checkpoint, target = DATA / "checkpoints" / "llada-tiny", tmp_path / "model.pte"
    target.write_text("older")
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.export_checkpoint(checkpoint, target, progress=lambda done, total: False)
    assert target.read_text() == "older" and list(tmp_path.iterdir()) == [target]

    def fail(done, total):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        diffulex_edge.export_checkpoint(checkpoint, target, progress=fail)
    seen = []
    result = diffulex_edge.export_checkpoint(
        checkpoint,
        target,
        quantization="int8-dynamic",
        max_seq_len=64,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result.file_bytes == target.stat().st_size
    assert 0 < seen[-1][0] <= seen[-1][1] <= result.file_bytes and seen == sorted(seen)
    assert result.quantised_tensors > 0 and result.quantised_bytes > result.float_bytes
    assert diffulex_edge.inspect(target)["metadata"]["get_max_context_len"] == [64]


def test_export_choices(tmp_path):
    backends, schemes = diffulex_edge.export_backends(), diffulex_edge.export_schemes()
    assert [b.name for b in backends] == ["xnnpack", "coreml", "qnn"]
    assert [s.name for s in schemes] == ["int8-dynamic", "int8-static", "int8-weight-only", "int4", "int4-g32", "int4-g64",
                                         "int4-g128", "int4-weight-only", "int4-g32-weight-only", "int4-g64-weight-only",
                                         "int4-g128-weight-only", "a16w8", "a16w4", "a16w4-g32", "fp16", "bf16", "none"]
    assert schemes[0].aliases == ("int8", "dynamic-int8") and schemes[-1].aliases == ("float32", "fp32")
    assert all(row.help for row in backends + schemes)
    for scheme in schemes:
        assert scheme.backends and set(scheme.backends) <= {b.name for b in backends}
        exclude = ["layers.*.o"] if "g128" in scheme.name else []  # whose rows have no such groups
        for backend in set(scheme.backends) - {"qnn"}:      # tests/py/test_py_backends.py, where its libraries are
            for word in (scheme.name, scheme.name.replace("-", "_"), *scheme.aliases):
                means = next(s.name for s in schemes
                             if backend in s.backends and word.replace("_", "-") in (s.name, *s.aliases))
                path = tmp_path / f"{backend}-{word}.pte"
                written = diffulex_edge.export_checkpoint(DATA / "checkpoints" / "sdar-tiny", path, quantization=word,
                                                          backend=backend, exclude=exclude)
                assert written.quantization == means + (", mixed" if exclude else "")
                assert written.kv == ("caller" if backend == "xnnpack" else "fixed-fp16")
                homes = {placement.home for placement in written.placements}
                assert backend in homes and homes <= {backend, "xnnpack", "operators"}
                assert diffulex_edge.inspect(path)["metadata"]["get_quantization"] == [written.quantization]
    forms = diffulex_edge.export_kv_forms()
    assert [f.name for f in forms] == ["caller", "explicit", "state", "fixed", "fixed-fp16", "fixed-state"]
    assert all(f.help for f in forms)
    socs = diffulex_edge.export_socs()
    assert {"SM8450", "SM8475", "SM8550", "SM8650", "SM7475"} <= {s.name for s in socs} and all(s.known_as for s in socs)
    for keywords, rows in (({"backend": "no"}, backends), ({"quantization": "no"}, schemes), ({"kv": "no"}, forms)):
        with pytest.raises(diffulex_edge.UnsupportedError) as info:
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / "llada-tiny", tmp_path / "x.pte", **keywords)
        named = [row.name for row in rows if "quantization" not in keywords or "xnnpack" in row.backends]
        assert str(info.value).endswith(": " + ", ".join(named))


def test_export_refuses(tmp_path):
    for keywords, kind in (
        ({"quantization": "int5"}, (ValueError, RuntimeError)),
        ({"quantization_config": tmp_path / "none.json"}, OSError),
        ({"exclude": "layers.7.q"}, ValueError),
        ({"backend": "vulkan"}, (ValueError, RuntimeError)),
        ({"backend": "coreml", "quantization": "none"}, (ValueError, RuntimeError)),
        ({"backend": "coreml", "minimum_deployment_target": "iOS15"}, ValueError),
        ({"backend": "coreml", "compute_units": "ane_only"}, ValueError),
        ({"backend": "coreml", "delegate_layers": -1}, ValueError),
        ({"backend": "coreml", "emit": "onnx"}, ValueError),
        ({"soc": "SM8650"}, ValueError),
        ({"backend": "qnn", "soc": "SM1"}, ValueError),
        ({"backend": "qnn", "qnn_lib_dir": tmp_path}, RuntimeError),
        ({"model_type": "gpt"}, (ValueError, RuntimeError)),
        ({"max_seq_len": -1}, ValueError),
    ):
        with pytest.raises(kind) as info:
            diffulex_edge.export_checkpoint(DATA / "checkpoints" / "llada-tiny", tmp_path / "x.pte", **keywords)
        assert isinstance(info.value, diffulex_edge.DlxError)
    with pytest.raises(OSError):
        diffulex_edge.export_checkpoint(DATA / "checkpoints" / "llada-tiny", tmp_path / "no" / "such" / "x.pte")
    with pytest.raises((OSError, ValueError, RuntimeError)):
        diffulex_edge.export_checkpoint(tmp_path / "nothing", tmp_path / "x.pte")
    assert list(tmp_path.iterdir()) == []


def test_graphs_are_printed(exported):
    text = diffulex_edge.inspect_graph(exported("sdar-tiny"))
    assert "attention" in text.lower()
    assert diffulex_edge.inspect_graph(exported("sdar-tiny"), raised=False, dot=True).startswith("digraph")


# ---- documentation ---------------------------------------------------------------------------------------------------


def test_examples_of_the_documentation_run(exported, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "PYTHON.md").read_text(), flags=re.S)
    assert len(blocks) >= 5
    (tmp_path / "model.pte").write_bytes(exported("sdar-tiny").read_bytes())
    (tmp_path / "mlp.pte").symlink_to(DATA / "foreign" / "mlp_dynamic.pte")
    (tmp_path / "checkpoint").symlink_to(DATA / "checkpoints" / "sdar-tiny")
    for block in blocks:
        if "executorch" in block and not (importlib.util.find_spec("executorch") or required("executorch")):
            continue
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0 and done.stdout, block + done.stderr


def test_an_empty_text_is_no_value(exported, tmp_path):
    path, checkpoint = exported("sdar-tiny"), DATA / "checkpoints" / "sdar-tiny"
    for opens in (diffulex_edge.Model, diffulex_edge.Method):
        with pytest.raises(ValueError, match="''"):
            opens(path, cpu="")
    for name in ("quantization", "model_type", "rounding", "kv", "observer", "emit", "chat_template", "work_folder"):
        with pytest.raises((ValueError, RuntimeError)):
            diffulex_edge.export_checkpoint(checkpoint, tmp_path / "m.pte", **{name: ""})
        assert not list(tmp_path.iterdir()), name


def test_arguments_of_the_wrong_kind_are_refused(sdar):
    for wrong in ([1.5], [22.0], [True], ["5"], [None], (2, 1.0)):
        for name in ("stop_ids", "stop_id"):
            with pytest.raises(ValueError, match=f"option '{name}': .* is no token id; expected whole numbers"):
                sdar.generate([5, 6, 7], max_new_tokens=4, **{name: wrong})
    for wrong in (True, 1.5, "x", [-1]):
        with pytest.raises(ValueError, match="stop_ids.*expected at most 16 token ids"):
            sdar.generate([5, 6, 7], max_new_tokens=4, stop_ids=wrong)
    ids = sdar.generate([5, 6, 7], max_new_tokens=4, stop_ids=[]).ids
    for several in (ids[1], [ids[1]], {ids[1]}, str(ids[1]), (ids[1], 3)):
        assert sdar.generate([5, 6, 7], max_new_tokens=4, stop_ids=several).ids == ids[:ids.index(ids[1])]
    for prompt in ([True], [5, False]):
        with pytest.raises(ValueError, match="token ids must be a sequence of whole numbers below 2.*: (True|False) is none"):
            sdar.generate(prompt)
    with pytest.raises(ValueError, match=r"stop must be a text, or a list of texts; got 5 \(ids of tokens are stop_ids=\)"):
        sdar.generate([5, 6, 7], stop=5)
    for prompt in (b"hi", bytearray(b"hi"), memoryview(b"hi")):
        with pytest.raises(ValueError, match="the prompt is (bytes|bytearray|memoryview); give text"):
            sdar.generate(prompt)
    with sdar.session() as session:
        with pytest.raises(ValueError, match="whole numbers below 2..31, not bytes"):
            session.generate(b"hi")
        with pytest.raises(ValueError, match="-1 positions cannot be kept"):
            session.truncate(-1)
    with pytest.raises(ValueError, match=r"a stream hands out the text itself; use generate\(\) with on_text"):
        sdar.stream("hi", on_text=print)


def test_a_nul_is_no_part_of_a_chat_message(sdar):
    for call in (sdar.generate, sdar.stream, sdar.prompt_ids):
        with pytest.raises(ValueError, match="the prompt contains a NUL character, .*; chat=False takes it as it is"):
            call("a\0b", chat=True)
    assert sdar.tokenizer().decode(sdar.prompt_ids("a\0b", chat=False)) == "a\0b"
