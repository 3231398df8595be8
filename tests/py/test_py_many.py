"""Lists of prompts, files of prompts, checkpoints as models, async streams, and what results show."""
import asyncio
import errno
import gc
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import weakref
from html.parser import HTMLParser

import pytest
from exported_files import DATA, exported  # noqa: F401 - a fixture

import diffulex_edge
from diffulex_edge import Model, jsonl, running

PROMPTS = ["count to three", "count to ten", "say hello", "and backwards", "once more"]
SHORT = dict(max_new_tokens=12)


@pytest.fixture(scope="module", params=["llada", "sdar"])
def model(request, exported):
    with Model(exported(f"{request.param}-tiny"), threads=1) as opened:
        yield opened


# ---- lists -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 5}])
def test_a_list_gives_what_each_prompt_alone_gives(model, batch_size, options):
    many = model.generate(PROMPTS, chat=False, batch_size=batch_size, **SHORT, **options)
    assert len(many) == len(PROMPTS)
    for one, prompt in zip(many, PROMPTS):
        alone = model.generate(prompt, chat=False, **SHORT, **options)
        assert (one.ids, one.text, one.finish_reason) == (alone.ids, alone.text, alone.finish_reason)
        assert one.confidences == alone.confidences


def test_passes_are_shared(model, monkeypatch):
    """A pass is made when every seat waits: with as many seats as prompts and the same length, all go together."""
    seats, most = [], []
    taken = diffulex_edge.Batcher.seat

    def seat(self, session):
        out = taken(self, session)
        seats.append(out)
        most.append(sum(not s._handle.closed for s in seats))
        return out

    monkeypatch.setattr(diffulex_edge.Batcher, "seat", seat)
    many = model.generate([[5, 6, 7]] * 9, batch_size=4, **SHORT)
    assert len(seats) == 9 and max(most) <= 4 and len({s.session for s in seats}) == 4
    assert len({tuple(c.ids) for c in many}) == 1 and all(s._handle.closed for s in seats)


def test_a_long_list_keeps_no_more_than_a_short_one(model, monkeypatch):
    """What a decode named and took is let go when it ends, not when the list does."""
    seats, alive, named = [], [], []
    taken = diffulex_edge.Batcher.seat

    def seat(self, session):
        out = taken(self, session)
        seats.append(weakref.ref(out))
        return out

    def on_done(i, result):
        gc.collect()
        job, = running._jobs
        alive.append(sum(s() is not None for s in seats))
        named.append(len(job.scopes))

    monkeypatch.setattr(diffulex_edge.Batcher, "seat", seat)
    model.generate([[5, 6, 7]] * 30, batch_size=4, max_new_tokens=1, on_done=on_done)
    # A decode on each of 4 threads; the first four seats are run's own for as long as the list lasts.
    assert len(seats) == 30 and max(alive) <= 4 + 4 and max(named) <= 1 + 4, (alive, named)


def test_what_several_decodes_of_a_job_work_on_is_named_until_the_last_ends():
    scope = object()

    def work(job):
        running.run(lambda job: None, scope)
        with pytest.raises(RuntimeError, match="callback of a decode"):
            running.end(scope)
        return "done"

    def outer(job):
        assert running.run(work, scope) == "done"
        with pytest.raises(KeyError):
            running.run(lambda job: {}["mine"], scope)
        running.end(scope)      # nobody works on it any more

    running.run(outer)


def test_kinds_of_lists(model):
    assert len(model.generate([[5, 6, 7], [8, 9]], **SHORT)) == 2
    assert len(model.generate(("a", "b"), chat=False, **SHORT)) == 2
    assert isinstance(model.generate([5, 6, 7], **SHORT), diffulex_edge.Completion)
    messages = [{"role": "user", "content": "hi"}]
    assert isinstance(model.generate(messages, **SHORT), diffulex_edge.Completion)
    two = model.generate([messages, messages], **SHORT)
    assert len(two) == 2 and two[0].ids == two[1].ids == model.generate(messages, **SHORT).ids


def test_callbacks_of_lists(model):
    for name in ("on_step", "on_text"):
        with pytest.raises(ValueError, match="for one prompt"):
            model.generate(PROMPTS, **{name: print})
    with pytest.raises(ValueError, match="on_done is for a list"):
        model.generate("a", on_done=print)
    with pytest.raises(ValueError, match="batch_size is 0"):
        model.generate(PROMPTS, batch_size=0)
    seen = []

    def on_done(i, result):
        seen.append((threading.current_thread() is threading.main_thread(), i))
        return len(seen) < 2

    with pytest.raises(diffulex_edge.Cancelled):
        model.generate(PROMPTS * 4, chat=False, batch_size=2, on_done=on_done, **SHORT)
    assert len(seen) == 2 and all(main for main, _ in seen)

    def fails(i, result):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.generate(PROMPTS, chat=False, on_done=fails, **SHORT)
    assert not running._jobs


def test_a_prompt_that_fails_does_not_stop_the_others(model):
    results = {}
    prompts = [[5, 6], [10**9], [7, 8]]
    with pytest.raises(ValueError, match="outside the vocabulary"):
        model.generate(prompts, on_done=results.__setitem__, **SHORT)
    assert sorted(results) == [0, 1, 2] and isinstance(results[1], ValueError)
    assert results[2].ids == model.generate([7, 8], **SHORT).ids


def test_closing_the_model_ends_a_list(exported):
    model = Model(exported("sdar-tiny"), threads=1)
    out = []

    def run():
        try:
            out.append(model.generate([[5, 6, 7]] * 2000, stop_ids=[], max_new_tokens=100))
        except diffulex_edge.DlxError as error:
            out.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    while not running._jobs:
        pass
    model.close()
    thread.join(60)
    assert len(out) == 1 and isinstance(out[0], diffulex_edge.Cancelled), out
    assert model._handle.freed


# ---- files -----------------------------------------------------------------------------------------------------------

def write_prompts(path):
    lines = [json.dumps({"prompt": text, "id": f"p{i}"}) for i, text in enumerate(PROMPTS)]
    lines.insert(2, json.dumps({"ids": [5, 6, 7]}))
    lines.insert(3, "")
    lines.append(json.dumps({"messages": [{"role": "user", "content": "hi"}]}))
    lines.append(json.dumps({"ids": [10**9]}))
    lines.append(json.dumps("just text"))
    path.write_text("\n".join(lines) + "\n", "utf-8")


def read(path):
    """Its lines without times."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        for name in ("prefill_ms", "decode_ms"):
            row.get("statistics", {}).pop(name, None)
    return rows


def test_files(model, tmp_path, capsys):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_prompts(source)
    done = model.generate_file(source, target, chat=False, batch_size=3, **SHORT)
    assert done == (9, 0, 1)
    rows = read(target)
    assert [row.get("id") for row in rows] == ["p0", "p1", None, "p2", "p3", "p4", None, None, None]
    assert rows[2]["ids"] == model.generate([5, 6, 7], **SHORT).ids
    assert rows[0]["text"] == model.generate(PROMPTS[0], chat=False, **SHORT).text
    assert rows[0]["statistics"]["new_tokens"] == len(rows[0]["ids"]) and rows[0]["finish_reason"] in ("stop", "length")
    assert "outside the vocabulary" in rows[7]["error"] and "text" in rows[8]
    whole = target.read_bytes()
    # Cut anywhere, it goes on to the same file.
    for cut in (0, 1, len(whole) // 2, whole.rindex(b"\n", 0, -1) + 1, len(whole) - 1, len(whole)):
        target.write_bytes(whole[:cut])
        again = model.generate_file(source, target, chat=False, batch_size=2, **SHORT)
        assert again.resumed == whole[:cut].count(b"\n") and read(target) == rows
        assert target.read_bytes().startswith(whole[:whole[:cut].rfind(b"\n") + 1])
    assert capsys.readouterr().err == "", "no bar where there is no terminal"


def test_files_that_are_something_else(model, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_prompts(source)
    model.generate_file(source, target, chat=False, **SHORT)
    for change, words in ((dict(max_new_tokens=3), "line 1, answers another prompt, or was made with other options"),):
        with pytest.raises(ValueError, match=words):
            model.generate_file(source, target, chat=False, **change)
    before = read(target)
    with pytest.raises(ValueError, match="is the file that the prompts come from"):
        model.generate_file(source, source, **SHORT)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is a folder, a device or a pipe"):
            model.generate_file(source, other, **SHORT)
    # Without an end of the line, too: only the beginning of an answer of ours is an answer that was cut short.
    for text in ("a diary\n", "a diary", '{"api_key": "secret"}', '{"key": "x"}', '{"prompt": "a", "answer": "b"}', "\0" * 9):
        target.write_text(text)
        with pytest.raises(ValueError, match="line 1, (was not written by generate_file|answers another prompt)"):
            model.generate_file(source, target, chat=False, **SHORT)
        assert target.read_text() == text
    target.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in before) + b"one more")
    with pytest.raises(ValueError, match="line 10, was not written by generate_file"):
        model.generate_file(source, target, chat=False, **SHORT)
    model.generate_file(source, target, chat=False, resume=False, **SHORT)
    assert read(target) == before
    for line, words in (("{", "line 2 is no JSON"), ("[1]", "line 2 is no object, but list"), ("{}", "line 2 has none of"),
                        ('{"ids": [1], "prompt": "a"}', "line 2 has prompt and ids")):
        source.write_text('"a"\n' + line + "\n")
        with pytest.raises(ValueError, match=words):
            model.generate_file(source, tmp_path / "other.jsonl", **SHORT)
    assert not (tmp_path / "other.jsonl").exists()
    for content, words in (('"a"\n'.encode("utf-16"), "in.jsonl is text in UTF-16; UTF-8 is expected"),
                           (b'"a"\n"b"\n"\xff"\n', "in.jsonl, line 3, is no UTF-8")):
        source.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            model.generate_file(source, tmp_path / "other.jsonl", **SHORT)
    source.write_text('"a\u2028b"\n')      # which ends no line of a file
    assert model.generate_file(source, tmp_path / "other.jsonl", chat=False, **SHORT).lines == 1
    with pytest.raises(FileNotFoundError):
        model.generate_file(tmp_path / "nowhere", target)


def test_a_full_disk_is_named(model, tmp_path, monkeypatch):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_prompts(source)
    opens = jsonl._open_output

    def full(path):
        file = opens(path)

        class Full(io.BufferedRandom):
            def write(self, data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Full(file.detach())
    monkeypatch.setattr(jsonl, "_open_output", full)
    with pytest.raises(OSError, match="No space left on device: '.*out.jsonl'") as raised:
        model.generate_file(source, target, chat=False, **SHORT)
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(target)


def test_wrong_arguments_write_no_file(model, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_prompts(source)
    for wrong, words in ((dict(tempersture=3), "there is no decode option 'tempersture'"), (dict(temperature=-1), "temperature"),
                         (dict(batch_size=0), "batch_size is 0"), (dict(batch_size=-3), "batch_size is -3"),
                         (dict(stop=[""]), "stop string"), (dict(stop=5), "stop must be a text, or a list of texts; got 5"),
                         (dict(temperature=""), "option 'temperature': expected a number"),
                         (dict(max_new_tokens=""), "option 'max_new_tokens': expected a whole number"), (dict(options={"tempersture": 1}), "tempersture")):
        with pytest.raises(ValueError, match=words):
            model.generate_file(source, target, chat=False, **wrong)
        assert not target.exists()


def test_two_cannot_write_to_one_file(model, tmp_path, monkeypatch):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_prompts(source)
    answer, again = jsonl._answer, []

    def and_another(*arguments):
        monkeypatch.undo()
        program = ("import sys, diffulex_edge\n"
                   "diffulex_edge.Model(sys.argv[1]).generate_file(*sys.argv[2:], chat=False, max_new_tokens=12)")
        again.append(subprocess.run([sys.executable, "-c", program, model.path, source, target], capture_output=True,
                                    text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}))
        with pytest.raises(RuntimeError, match="out.jsonl is being written by another generate_file"):
            model.generate_file(source, target, chat=False, resume=False, **SHORT)
        return answer(*arguments)
    monkeypatch.setattr(jsonl, "_answer", and_another)
    assert model.generate_file(source, target, chat=False, **SHORT) == (9, 0, 1)
    assert again[0].returncode == 1 and "is being written by another generate_file" in again[0].stderr
    assert len(read(target)) == 9 and model.generate_file(source, target, chat=False, **SHORT) == (9, 9, 0)


def test_files_with_variables_of_the_template(model, tmp_path):
    """For all lines, and for one line its own."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    template = "{{ messages[0].content }}{{ ' a' if word is defined and word else '' }}"
    messages = [{"role": "user", "content": PROMPTS[0]}]
    lines = [{"messages": messages}, {"messages": messages, "chat_template_kwargs": {"word": False}}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = dict(chat_template=template, chat_template_kwargs={"word": True})
    assert model.generate_file(source, target, **said, **SHORT).failed == 0
    want = [model.generate(text, chat=False, **SHORT).ids for text in (PROMPTS[0] + " a", PROMPTS[0])]
    assert [row["ids"] for row in read(target)] == want
    with pytest.raises(ValueError, match="line 1, answers another prompt, or was made with other options"):
        model.generate_file(source, target, chat_template=template, **SHORT)


@pytest.mark.parametrize("tqdm", [True, False])
def test_progress(model, tmp_path, capsys, monkeypatch, tqdm):
    source = tmp_path / "in.jsonl"
    write_prompts(source)
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    elif not shutil.which("true") or __import__("importlib").util.find_spec("tqdm") is None:
        pytest.skip("tqdm is not installed")
    model.generate_file(source, tmp_path / "out.jsonl", chat=False, progress=True, **SHORT)
    assert ("9/9" if tqdm else "9 of 9 prompts") in capsys.readouterr().err


# ---- checkpoints -----------------------------------------------------------------------------------------------------

@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(DATA / "checkpoints" / "sdar-tiny", tmp_path / "checkpoints" / "my model")


def test_from_pretrained_exports_once(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFULEX_EDGE_CACHE", str(tmp_path / "cache"))
    calls = []
    with Model.from_pretrained(checkpoint, max_seq_len=64, progress=lambda done, total: calls.append(done)) as first:
        assert calls and first.facts.max_context == 64
        made, = (tmp_path / "cache").iterdir()
        assert made.name.startswith("my_model-") and first.path == str(made)
        want = first.generate([5, 6, 7], **SHORT).ids
    calls.clear()
    with Model.from_pretrained(checkpoint, max_seq_len=64, progress=lambda done, total: calls.append(done)) as again:
        assert not calls and again.generate([5, 6, 7], **SHORT).ids == want
    with Model.from_pretrained(checkpoint, max_seq_len=64, quantization="none") as plain:
        assert os.path.getsize(plain.path) > made.stat().st_size
    config = checkpoint / "config.json"
    config.write_text(config.read_text() + "\n")    # a checkpoint that changed is exported again, the older file goes
    with Model.from_pretrained(checkpoint, max_seq_len=64) as changed:
        assert changed.path != str(made) and not made.exists()
    weights = checkpoint / "model.safetensors"      # another one, of the same size and time
    state = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-4:] = bytes(4)
    weights.write_bytes(content)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    with Model.from_pretrained(checkpoint, max_seq_len=64) as other:
        assert other.path != changed.path
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("length", [0, 4, 5000, -4])
def test_from_pretrained_mends_a_damaged_file_of_the_cache(checkpoint, tmp_path, length):
    kept = dict(max_seq_len=64, cache_dir=tmp_path / "cache")
    with Model.from_pretrained(checkpoint, **kept) as model:
        want = model.generate([5, 6, 7], **SHORT).ids
        whole = open(model.path, "rb").read()
    with open(model.path, "r+b") as file:
        file.truncate(length if length >= 0 else len(whole) + length)
    calls = []
    with Model.from_pretrained(checkpoint, progress=lambda done, total: calls.append(done), **kept) as again:
        assert again.generate([5, 6, 7], **SHORT).ids == want and open(again.path, "rb").read() == whole
    assert calls and len(list((tmp_path / "cache").iterdir())) == 1


def test_from_pretrained_names_a_cache_that_cannot_be_used(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="the cache folder .*file.* cannot be used: .*; give another as cache_dir"):
            Model.from_pretrained(checkpoint, cache_dir=folder)
    for name in ("DIFFULEX_EDGE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    def nowhere():
        raise RuntimeError("Could not determine home directory.")
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    with pytest.raises(OSError, match="no home folder .* cache_dir"):
        Model.from_pretrained(checkpoint)


def test_from_pretrained_finds_names_in_the_hub_cache(checkpoint, tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "DIFFULEX_EDGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    snapshot = tmp_path / "home" / "hub" / "models--JetLM--tiny" / "snapshots" / "abc"
    shutil.copytree(checkpoint, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("abc\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with Model.from_pretrained("JetLM/tiny", max_seq_len=64) as model:
        assert os.path.dirname(model.path) == str(tmp_path / "xdg" / "diffulex-edge")
    with pytest.raises(FileNotFoundError, match="JetLM/other.*hf download JetLM/other"):
        Model.from_pretrained("JetLM/other")
    with pytest.raises(FileNotFoundError):
        Model.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(diffulex_edge.UnsupportedError, match="quantization"):
        Model.from_pretrained(checkpoint, quantization="fp4")


@pytest.mark.parametrize("by_folder", [False, True])
def test_from_pretrained_sees_that_a_repository_changed(checkpoint, tmp_path, monkeypatch, by_folder):
    """However the repository is named, and without refs/main, the files that count are those of its snapshot."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DIFFULEX_EDGE_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "hub" / "models--JetLM--tiny"
    config = shutil.copytree(checkpoint, repository / "snapshots" / "abc") / "config.json"
    name = repository if by_folder else "JetLM/tiny"
    with Model.from_pretrained(name, max_seq_len=64) as model:
        assert model.facts.max_context == 64
        before = model.path
    config.write_text(config.read_text() + "\n")
    with Model.from_pretrained(name, max_seq_len=64) as model:
        assert model.path != before and not os.path.exists(before)


def test_from_pretrained_with_another_chat_template(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFULEX_EDGE_CACHE", str(tmp_path / "cache"))
    template, seen = tmp_path / "my.jinja", []
    for text in "ask: ", "tell: ":
        template.write_text(text + "{{ messages[0].content }}")
        with Model.from_pretrained(checkpoint, max_seq_len=64, chat_template=template) as model:
            seen.append(diffulex_edge.render_chat(model.tokenizer(), [{"role": "user", "content": "x"}]))
    assert seen == ["ask: x", "tell: x"]


# ---- async -----------------------------------------------------------------------------------------------------------

def test_async_streams(model):
    want = model.generate(PROMPTS[0], chat=False, keep_special=True, stop_ids=[], **SHORT)

    async def one(delay):
        pieces, ticks = [], 0
        stream = model.stream(PROMPTS[0], chat=False, keep_special=True, stop_ids=[], **SHORT)
        async with stream:
            async for piece in stream:
                pieces.append(piece)
                await asyncio.sleep(delay)
        return "".join(pieces), stream.completion.ids

    async def several():
        return await asyncio.gather(*(one(delay) for delay in (0, 0.001, 0.01)))

    assert asyncio.run(several()) == [(want.text, want.ids)] * 3


def test_async_streams_leave_the_loop_alone_and_cancel(model):
    def slowly(step, ids):
        threading.Event().wait(0.02)

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)
        ticking = asyncio.ensure_future(tick())
        stream = model.stream([5, 6, 7], on_step=slowly, keep_special=True, stop_ids=[], max_new_tokens=96)
        async for piece in stream:
            break
        with pytest.raises(asyncio.TimeoutError):
            while True:  # pieces that are there already come at once
                await asyncio.wait_for(stream._feed.next_async(), 0.001)
        while ticks <= 5:
            await asyncio.sleep(0)
        await stream.aclose()
        ticking.cancel()
        return ticks, stream.completion

    ticks, completion = asyncio.run(main())
    assert ticks > 5 and completion.finish_reason == "cancelled"

    async def fails():
        async for piece in model.stream([10**9], **SHORT):
            pass
    with pytest.raises(ValueError, match="outside the vocabulary"):
        asyncio.run(fails())


# ---- what results show -----------------------------------------------------------------------------------------------

class Table(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)
        assert not self.open, "tags that are not closed"

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.rows[-1][-1] += data


def test_results_show_the_denoising(model):
    completion = model.generate([5, 6, 7], stop_ids=[], keep_special=True, **SHORT)
    assert repr(completion).count("\n") == 0 and len(repr(completion)) < 200
    assert f"{len(completion.ids)} tokens" in repr(completion) and "tokens" in repr(completion.generation)
    rows = Table(completion._repr_html_()).rows
    steps = [step for step in completion.generation.steps if step.accepted]
    assert len(rows) == len(steps) and len(rows[0]) == len({a.position for s in steps for a in s.accepted}) >= 12
    assert [sum(cell != "\u00b7" for cell in row) for row in rows] == \
        [sum(len(s.accepted) for s in steps[:i + 1]) for i in range(len(steps))]
    pieces = [model.tokenizer().decode([i]) for i in completion.ids]
    assert rows[-1][:12] == [p.replace("\n", "\u23ce").replace("\t", "\u21e5") or "\xa0" for p in pieces]
    assert "12" in completion.generation._repr_html_()
    assert pickle.loads(pickle.dumps(completion)) == completion


def test_confidences_by_name(model):
    completion = model.generate([5, 6, 7], stop_ids=[], **SHORT)
    accepted = {a.position: (a.id, a.confidence, i) for i, step in enumerate(completion.generation.steps)
                for a in step.accepted}
    assert [t.id for t in completion.tokens] == completion.ids and len(completion.ids) == 12
    for token in completion.tokens:
        assert accepted[token.position] == (token.id, token.confidence, token.step)
        assert token.text == model.tokenizer().decode([token.id])
    assert completion.confidences == completion.generation.confidences == [t.confidence for t in completion.tokens]


def test_short_reprs(model):
    with model.workspace(max_sessions=2) as workspace, diffulex_edge.Batcher(workspace) as batcher, \
            diffulex_edge.ThreadPool(1) as pool:
        session = workspace.session()
        with batcher.seat(session) as seat, model.stream([5, 6, 7], **SHORT) as stream:
            things = [model, workspace, batcher, session, seat, pool, stream, model.session(), model.tokenizer()]
            for thing in things:
                assert repr(thing).startswith(f"<{type(thing).__name__}") and len(repr(thing)) < 120, repr(thing)
    assert "closed" in repr(workspace) and "closed" in repr(batcher) and "closed" in repr(session) and "ended" in repr(stream)
