"""The page of the server, in headless Chromium: conversations, passes, recordings, settings, errors, keys, looks, and how
it is used without a mouse or eyes."""
import json
import os
import re
import signal
from pathlib import Path

import pytest

import browser as B
import server as S
from oracles import not_here
from page_proxy import Held, Proxy, chunk, frame, last
from page_use import CHAT, LAST, ask, canvas, expected_canvas, finished, frames_of, press, save, set_field, text

S.require()
NAMES = ("api.js", "chat.js", "dom.js", "frames.js", "icon.svg", "main.js", "page.css", "recording.js", "settings.js", "view.js")
# An answer of every kind of confidence, over many blocks: the model knows nothing of the sea.
SEA = "Tell me about the sea."
WILD = {"temperature": 1.5, "seed": 7, "max_tokens": 60,
        "diffusion": {"stop_ids": "none", "strategy": "low_confidence_static", "denoising_steps": 4}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return S.export_all(tmp_path_factory.mktemp("page"), ["dialog", "llada", "dream", "fast_dllm_v2"])


@pytest.fixture(scope="module")
def dialog(files):
    with S.serving(files["dialog"], "--rows", 64) as s:
        yield s


@pytest.fixture(scope="module")
def proxy(dialog):
    p = Proxy(dialog.port)
    yield p
    p.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if not B.program():  # scripts/install_deps.sh installs it where it is a package
        what, system = "there is no Chromium: the page NOT checked", Path("/etc/os-release")
        not_here(what) if system.exists() and "ID=debian" in system.read_text().split() else pytest.skip(what)
    b = B.Browser(tmp_path_factory.mktemp("chromium"))
    yield b
    b.close()


@pytest.fixture
def new_page(chromium):
    """Opens pages whose console must stay empty, but for what a test says, and that ask nobody but their server."""
    pages = []

    def opened(url, expected=(), ready=True, **size):
        page = chromium.page(**size)
        pages.append((page, url, expected))
        page.begin_with("""if (location.protocol === "http:" && !localStorage.getItem("diffulex-edge.pace"))
            localStorage.setItem("diffulex-edge.pace", "0");""")
        page.open(url)
        if ready:
            page.wait("document.getElementById('model').textContent")
        return page

    yield opened
    for page, url, expected in pages:
        complaints = [c for c in page.complaints() if not any(e in c for e in expected)]
        assert complaints == []
        origin = "/".join(url.split("/")[:3]) + "/"
        foreign = [r for r in page.requests() if not r.startswith((origin, f"blob:{origin}", "about:blank"))]
        assert foreign == []
        page.close()


# ---- without a browser ----

def test_files_of_the_page(files):
    """No key, right types, nothing from elsewhere, and kept by browsers until they change."""
    with S.serving(files["dialog"], "--rows", 64, "--api-key", "secret") as s:
        for path in ("/", *("/page/" + n for n in NAMES)):
            status, headers, body = s.ask("GET", path)
            assert status == 200 and body
            types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
            assert headers["Content-Type"] == types.get(path.rsplit(".", 1)[-1], "text/html") + "; charset=utf-8"
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-cache"
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            tag = headers["ETag"]
            assert re.fullmatch('"[0-9a-f]{16}"', tag)
            status, headers, kept = s.ask("GET", path, headers={"If-None-Match": f'"x", W/{tag}'})
            assert (status, kept, headers["ETag"]) == (304, "", tag)
            assert s.ask("GET", path, headers={"If-None-Match": '"0123456789abcdef"'})[0] == 200
            assert s.ask("HEAD", path)[1]["ETag"] == tag
            assert not re.search(r"(?:https?:)?//[\w.-]+\.\w", re.sub(r"http://www\.w3\.org/2000/svg", "", body)), path
        html = s.ask("GET", "/")[2]
        assert not re.search(r"<style|<script(?! type=\"module\" src=)|\son\w+=|style=|(src|href)=\"/", html)
        assert s.error("/", {}, 405)["message"] == "/ takes GET"
        for path in ("/page/", "/page/index.html", "/page/../server.c", "/index.html"):
            assert s.error(path, None, 404, "GET", {"Authorization": "Bearer secret"})
        metrics = s.ask("GET", "/metrics", headers={"Authorization": "Bearer secret"})[2]
        assert '="/",' in metrics and "page.css" not in metrics


def test_frames_say_what_the_canvas_is(dialog, files):
    """The canvas of a model with blocks ends with the block; every other one is whole from the first pass on."""
    body = {"messages": [{"role": "user", "content": "the dog"}], **WILD}
    frames = frames_of(dialog, body)
    n = dialog.post(CHAT, body)["usage"]["prompt_tokens"]
    assert len(frames) > 8 and all(f["canvas"] == f["end"] for f in frames)
    for f in frames:
        assert (f["begin"], f["end"]) == (max(0, 8 * f["block"] - n), 8 * f["block"] + 8 - n)
        assert all(f["begin"] <= c[0] < f["end"] for c in f["changes"])
    for name, options in (("llada", {"block_length": 8}), ("dream", {}), ("fast_dllm_v2", {})):
        with S.serving(files[name], "--rows", 64) as s:
            frames = frames_of(s, {**body, "max_tokens": 40, "temperature": 0, "diffusion": {"stop_ids": "none", **options}})
            assert sum(len(f["changes"]) for f in frames) >= 40
            for f in frames:
                assert all(f["begin"] <= c[0] < f["end"] <= f["canvas"] for c in f["changes"])
                if name == "llada":
                    assert (f["begin"], f["end"], f["canvas"]) == (8 * f["block"], 8 * f["block"] + 8, 40)
                elif name == "dream":
                    assert (f["begin"], f["end"], f["canvas"]) == (0, 40, 40)
                else:
                    assert f["canvas"] == f["end"]
            bounds = {o["name"]: (o.get("min"), o.get("max")) for o in s.get("/props")["options"]}
            assert bounds["threshold"] == (0, 1) and bounds["steps"] == (1, 1 << 20) and bounds["alg"] == (None, None)


def test_characters_of_several_tokens(dialog, new_page):
    """They are told by the pass that makes them whole, once; the page shows them at the first of their tokens."""
    ids = dialog.post("/tokenize", {"content": "\u00e9"})["tokens"]
    assert len(ids) == 2
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 40, "temperature": 1.0, "seed": 3,
            "logit_bias": {str(i): 100 for i in ids},
            "diffusion": {"stop_ids": "none", "strategy": "low_confidence_static", "denoising_steps": 4}}
    frames, known, told = frames_of(dialog, body), {}, []
    for f in frames:
        known |= {c[0]: c[1] for c in f["changes"]}
        fresh = {c[0] for c in f["changes"]}
        pairs = [i for i in sorted(known) if known[i] == ids[0] and known.get(i + 1) == ids[1] and {i, i + 1} & fresh]
        assert [j[:2] for j in f.get("joined", [])] == [[i, 2] for i in pairs] and all(j[2] == "\u00e9" for j in f.get("joined", []))
        told += pairs
    assert len(told) >= 3
    script = f"""(async () => {{ const m = await import(new URL('page/frames.js', document.baseURI)); const t = m.newTrack();
        for (const f of {json.dumps(frames)}) {{ if (m.fault(f)) throw new Error(m.fault(f)); m.addFrame(t, f); }}
        return m.canvasAt(t, t.frames.length).cells.map((c) => c ? c.text : '\u2591'); }})()"""
    shown = new_page(dialog.url + "/").run(script)
    assert shown == [c[0] for c in expected_canvas(frames, len(frames), {-1})]
    assert [i for i, t in enumerate(shown) if t == "\u00e9"] == sorted(told)


def test_what_the_readme_shows(dialog):
    """Its curl and its Python get the answers that stand there."""
    readme = (S.ROOT / "README.md").read_text()
    asked, answer = re.search(r"/v1/chat/completions -d '(\{.*?\})'\n(\{.*?\})\n```", readme, re.S).groups()
    got, shown = dialog.post(CHAT, json.loads(asked)), json.loads(answer.replace("\n", ""))
    assert got["choices"] == shown["choices"] and got["usage"]["completion_tokens"] == shown["usage"]["completion_tokens"]
    assert set(got) == set(shown) and set(got["diffusion"]) == set(shown["diffusion"])
    asked, answer = re.search(r"messages=(\[\{[^\n]*\}\])\)\.choices[^\n]*# (.*)", readme).groups()
    assert dialog.post(CHAT, {"messages": json.loads(asked)})["choices"][0]["message"]["content"] == answer


# ---- conversations ----

def test_a_conversation(dialog, new_page):
    page = new_page(dialog.url + "/")
    assert "dialog" in page.run("document.title") and "context of 512 tokens" in page.run("document.body.innerText")
    ask(page, "Spell pear.")
    messages = [{"role": "user", "content": "Spell pear."}]
    assert text(page, ".text") == "p-e-a-r" and page.run("document.getElementById('empty').offsetHeight") == 0
    frames = frames_of(dialog, {"messages": messages})
    assert canvas(page) == expected_canvas(frames, len(frames), {541, 539}) and "after" in canvas(page)[-1][1]
    whole = dialog.post(CHAT, {"messages": messages})
    state = text(page, ".state")
    assert state.startswith(f"{whole['usage']['completion_tokens']} tokens · {whole['diffusion']['passes']} passes · 3.5 tokens a pass")
    assert state.endswith("tokens/s")
    said = page.run("document.getElementById('said').textContent")
    assert said.startswith("Answer finished, 7 tokens") and said.endswith("p-e-a-r")
    # The second question goes with the first one and its answer.
    ask(page, "And backwards?")
    assert text(page, ".text") == "r-a-e-p"
    messages += [{"role": "assistant", "content": "p-e-a-r"}, {"role": "user", "content": "And backwards?"}]
    assert dialog.post(CHAT, {"messages": messages})["choices"][0]["message"]["content"] == "r-a-e-p"
    # Retry of the first drops the second.
    press(page, "Retry", "document.querySelector('.answer')")
    finished(page)
    assert page.run("document.querySelectorAll('.turn').length") == 1 and text(page, ".text") == "p-e-a-r"
    # Passes and text are two views of the same; the choice stays.
    assert page.run(f"{LAST}.querySelector('.canvas').offsetHeight") > 0 and page.run(f"{LAST}.querySelector('.text').offsetHeight") == 0
    press(page, "Text")
    assert page.run(f"{LAST}.querySelector('.text').offsetHeight") > 0
    page.allow("clipboardReadWrite", "clipboardSanitizedWrite")
    press(page, "Copy")
    assert page.wait("navigator.clipboard.readText()") == "p-e-a-r"
    # Shift+Enter is a line end.
    page.run("document.getElementById('question').focus()")
    page.type("one")
    page.press("Enter", modifiers=8)
    page.type("two")
    assert page.run("document.getElementById('question').value") == "one\ntwo" and page.run("document.querySelectorAll('.turn').length") == 1
    page.click("#clear")
    assert page.run("document.querySelectorAll('.turn').length") == 0 and page.run("document.getElementById('empty').offsetHeight") > 0
    page.run("document.getElementById('question').value = ''")
    ask(page, "Spell pear.")
    assert page.run(f"{LAST}.querySelector('.text').offsetHeight") > 0


def test_passes_and_recordings(dialog, new_page, tmp_path):
    page = new_page(dialog.url + "/")
    for name, value in {"temperature": 1.5, "seed": 7, "max_tokens": 60, **WILD["diffusion"]}.items():
        set_field(page, name, value)
    ask(page, SEA)
    frames = frames_of(dialog, {**WILD, "messages": [{"role": "user", "content": SEA}]})
    slider = f"{LAST}.querySelector('input[type=range]')"
    stops = set()
    levels = set()
    page.run(f"{slider}.focus()")
    assert page.run(f"[{slider}.max, {slider}.value]") == [str(len(frames))] * 2
    for k in range(len(frames), -1, -1):
        got = canvas(page)
        assert got == expected_canvas(frames, k, stops), k
        levels |= {c for _, classes in got for c in classes}
        assert text(page, ".caption").startswith(f"pass {k} of {len(frames)}: ")
        assert page.run(f"{slider}.getAttribute('aria-valuetext')") in text(page, ".caption")
        page.press("ArrowLeft")
    assert levels >= {"c0", "c1", "c2", "c3", "new", "mask", "active"} and "after" not in levels  # no id ends it
    # Buttons; then play, with the space bar, to the end.
    press(page, "To the end")
    press(page, "Back one pass")
    press(page, "Back one pass")
    press(page, "Forward one pass")
    assert canvas(page) == expected_canvas(frames, len(frames) - 1, stops)
    page.run(f"{LAST}.querySelector('.controls select').value = '16'")
    press(page, "To the beginning")
    page.run(f"{slider}.focus()")
    page.press(" ")
    page.wait(f"{slider}.value >= 3")
    press(page, "Pause")
    at = int(page.run(f"{slider}.value"))
    assert 3 <= at < len(frames) and canvas(page) == expected_canvas(frames, at, stops)
    page.run(f"{slider}.value = {len(frames) - 2}; {slider}.dispatchEvent(new Event('input'))")
    press(page, "Play")
    page.wait(f"{slider}.value === '{len(frames)}' && {LAST}.querySelector('button[title=Play]') !== null")
    # A token tells its number, to the mouse and to arrows.
    page.run(f"{LAST}.querySelector('.canvas').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    token = next(c for f in frames for c in f["changes"] if c[0] == 1)
    detail = text(page, "output")
    assert f"token {token[1]}, " in detail and ("above 0.9999" if token[3] >= 0.99995 else f"{token[3]:.4f}") in detail
    # Saved, and opened by a page that never saw the answer.
    saved, recording = save(page, tmp_path)
    assert saved.name == "dialog-tell-me-about-the-sea.json" and (recording["format"], recording["version"]) == ("diffulex-edge recording", 1)
    assert [[f["block"], f["changes"]] for f in recording["frames"]] == [[f["block"], f["changes"]] for f in frames]
    assert recording["answer"]["text"] == text(page, ".text") and recording["options"]["seed"] == 7
    assert recording["messages"] == [{"role": "user", "content": SEA}] and recording["model"]["name"] == "dialog"
    state = text(page, ".state")
    page.open(dialog.url + "/")
    page.wait("document.getElementById('model').textContent")
    page.choose_file("#file", saved)
    page.wait("document.querySelector('.recording') !== null")
    press(page, "To the end")
    assert canvas(page) == expected_canvas(frames, len(frames), stops) and text(page, ".text") == recording["answer"]["text"]
    assert text(page, ".state") == state
    # One that another program wrote, with no more than is needed.
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({**recording, "options": 5, "prompt_passes": "x", "answer": {"text": "\u00e9", "passes": "x", "reasoning": 1}}))
    page.choose_file("#file", bare)
    page.wait("document.querySelectorAll('.recording').length === 2")
    known = len({c[0] for f in frames for c in f["changes"]})  # the numbers are those of the passes then
    assert text(page, ".text") == "\u00e9" and text(page, ".state").startswith(f"{known} tokens \u00b7 {len(frames)} passes \u00b7 ")
    press(page, "Close")
    assert page.run("document.querySelectorAll('.recording').length") == 1
    page.click("#clear")
    # Files that are none are refused with a sentence.
    damaged = json.loads(json.dumps(recording))
    damaged["frames"][2]["changes"] = [[9999, 1, "x", 0.5]]
    for content, words in (("{", "not JSON"), ("{}", "no recording of DiffuLex Edge"), ("[1]", "no recording"), ("null", "no recording"),
                           (json.dumps({**recording, "version": 2}), "version 2; this page reads version 1"),
                           (json.dumps({**recording, "frames": []}), "no passes"),
                           (json.dumps({**recording, "frames": [None]}), "Pass 1 of this recording is damaged"),
                           (json.dumps({**recording, "answer": {}}), "no answer"),
                           (json.dumps({**recording, "model": "x"}), "does not name its model"),
                           (json.dumps({**recording, "messages": [{}]}), "no list of messages"),
                           (json.dumps(damaged), "Pass 3 of this recording is damaged: a change is not on the canvas")):
        wrong = tmp_path / "wrong.json"
        wrong.write_text(content)
        page.run("document.getElementById('notice').textContent = ''")
        page.choose_file("#file", wrong)
        assert words in page.wait("document.getElementById('notice').textContent")
        assert page.run("document.querySelectorAll('.turn').length") == 0


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_a_model_without_blocks_shows_its_whole_canvas(files, new_page, name):
    with S.serving(files[name], "--rows", 64) as s:
        page = new_page(s.url + "/")
        set_field(page, "max_tokens", 40)
        set_field(page, "stop_ids", "none")
        ask(page, "the dog")
        frames = frames_of(s, {"messages": [{"role": "user", "content": "the dog"}], "max_tokens": 40,
                               "diffusion": {"stop_ids": "none"}})
        press(page, "To the beginning")
        assert [t for t, _ in canvas(page)] == ["\u2591"] * 40
        for k in (1, 7, len(frames)):
            page.run(f"(() => {{ const s = {LAST}.querySelector('input[type=range]'); s.value = {k};"
                     "s.dispatchEvent(new Event('input')); })()")
            assert canvas(page) == expected_canvas(frames, k, set())


# ---- settings ----

def test_settings(dialog, new_page):
    page = new_page(dialog.url + "/")
    page.click("#settings-button")
    options = {o["name"]: o for o in dialog.get("/props")["options"]}
    shown = set(page.run("[...document.querySelectorAll('#settings .field')].filter((f) => !f.hidden)"
                         ".map((f) => f.querySelector('input, select, textarea').id.slice(4))"))
    assert {"system", "preset", "max_tokens", "seed", "threshold", "strategy", "block_length"} <= shown
    assert not {"remasking", "alg", "block_cache"} & shown  # other families'
    assert page.run("[...document.getElementById('set-preset').options].map((o) => o.value)") == ["", "exact", "balanced", "fast"]
    field = page.run("(({min, max, placeholder, type}) => [min, max, placeholder, type])(document.getElementById('set-threshold'))")
    assert field == ["0", "1", options["threshold"]["default"], "number"]
    # What is out of bounds is not sent; the field is shown.
    set_field(page, "threshold", "1.5")
    page.click("#settings-button")
    sent = len(page.requests())
    ask(page, "Spell pear.", wait=False)
    assert page.run("document.activeElement.id") == "set-threshold" and page.run("document.getElementById('settings').hidden") is False
    assert len(page.requests()) == sent
    assert page.run("document.getElementById('question').value") == "Spell pear."  # for another try
    page.run("document.getElementById('question').value = ''")
    # What is in bounds reaches the decoder, and is there after a reload.
    set_field(page, "threshold", "")
    set_field(page, "preset", "exact")
    set_field(page, "system", "Be short.")
    page.open(dialog.url + "/")
    page.wait("document.getElementById('model').textContent")
    ask(page, "Spell pear.")
    want = dialog.post(CHAT, {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Spell pear."}],
                              "diffusion": {"preset": "exact"}})
    assert text(page, ".text") == want["choices"][0]["message"]["content"]
    assert f"{want['diffusion']['passes']} passes" in text(page, ".state")
    # An algorithm that was chosen has its own options; what the server refuses is its own sentence.
    page.click("#settings-button")
    set_field(page, "preset", "")
    set_field(page, "strategy", "sequential")
    set_field(page, "algorithm", "ar.generate")
    set_field(page, "max_tokens", "4")
    ask(page, "Spell pear.")  # without what the algorithm lacks
    assert text(page, ".error") == "" and page.run(f"{LAST}.querySelectorAll('.token').length") == 4
    assert page.run("document.getElementById('set-strategy').closest('.field').hidden")
    assert not page.run("document.getElementById('set-repetition_penalty').closest('.field').hidden")
    page.run("[...document.querySelectorAll('#settings button')].pop().click()")
    assert page.run("localStorage.getItem('diffulex-edge.settings.dialog')") == "{}"
    # The longest answer is what the context leaves, and a system prompt that leaves nothing is told at its field.
    set_field(page, "max_tokens", "512")
    ask(page, "Spell pear.")
    assert text(page, ".error") == "" and text(page, ".text") == "p-e-a-r"
    set_field(page, "system", "Be short." * 100)
    ask(page, "Spell pear.")
    refused = text(page, ".error")
    assert re.fullmatch(r"The system prompt is too long: even without earlier questions the prompt has \d+ tokens, and the context 512\.", refused)
    assert page.run("document.getElementById('said').textContent") == f"Error: {refused}"
    assert page.run("document.getElementById('set-system-wrong').textContent") == refused
    page.events[:] = [e for e in page.events if "status of 400" not in json.dumps(e)]  # the browser's own line


def test_bound_answers(dialog, new_page, tmp_path):
    """The form of an answer: what the server says against it stands at its field, and recordings tell it."""
    page = new_page(dialog.url + "/", expected=("status of 400",))
    told = "(() => { const e = document.activeElement; return [e.id, e.getAttribute('aria-invalid'), " \
        "e.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent)[0]]; })()"
    visible = "['json_schema', 'regex'].filter((name) => document.getElementById('set-' + name).checkVisibility())"

    def refused(name, path="/v1/chat/completions", **more):
        ask(page, "Spell pear.")
        words = dialog.error(path, {"messages": [{"role": "user", "content": "Spell pear."}], **more})["message"]
        assert page.run(told) == [f"set-{name}", "true", words] and text(page, ".error") == words
        assert not page.run("document.getElementById('settings').hidden")
        page.click("#settings-button")

    page.click("#settings-button")
    assert page.run(visible) == []
    set_field(page, "form", "regex")
    assert page.run(visible) == ["regex"]
    ask(page, "", wait=False)
    page.type("Spell pear.")
    page.press("Enter")
    assert page.run(told)[:2] == ["set-regex", "true"] and page.run(told)[2]  # nothing is no expression
    page.type("a(b")
    assert page.run(told)[1:] == [None, ""]
    page.run("document.getElementById('question').value = ''")
    page.click("#settings-button")
    refused("regex", regex="a(b")
    set_field(page, "form", "json_schema")
    set_field(page, "json_schema", '{"enum": ')
    refused("json_schema", json_schema='{"enum": ')
    assert "is not JSON: line 1, column 9" in text(page, ".error")
    schema = '{"enum": ["yes", "no"], "not": {}}'
    set_field(page, "json_schema", schema)
    refused("json_schema", json_schema=schema)
    schema = schema.replace(', "not": {}', "")
    set_field(page, "json_schema", schema)
    set_field(page, "max_tokens", 1)
    refused("max_tokens", json_schema=schema, max_tokens=1)
    turns = page.run("document.querySelectorAll('.turn').length")
    set_field(page, "max_tokens", 9999)
    press(page, "Retry", "document.querySelector('.answer')")  # takes nothing away
    assert page.run(told)[0] == "set-max_tokens" and page.run("document.querySelectorAll('.turn').length") == turns
    set_field(page, "max_tokens", 40)
    press(page, "Retry")
    finished(page)
    assert text(page, ".text") in ('"yes"', '"no"') and text(page, ".bound", f"{LAST}.closest('.turn')") == f"bound to {schema}"
    file, recording = save(page, tmp_path)
    assert recording["options"]["json_schema"] == schema and "regex" not in recording["options"]
    page.choose_file("#file", file)
    page.wait(f"{LAST}.closest('.recording') !== null")
    assert text(page, ".bound", f"{LAST}.closest('.turn')") == f"bound to {schema}"
    set_field(page, "form", "json_object")
    ask(page, "Spell pear.")
    assert isinstance(json.loads(text(page, ".text")), dict)
    set_field(page, "form", "regex")
    set_field(page, "regex", "b-(e-a|o)-r")
    page.open(dialog.url + "/")
    page.wait("document.getElementById('model').textContent")
    ask(page, "Spell pear.")
    assert text(page, ".text") in ("b-e-a-r", "b-o-r")
    page.click("#settings-button")
    assert page.run(visible) == ["regex"]
    page.run("[...document.querySelectorAll('#settings button')].pop().click()")
    ask(page, "Spell pear.")
    assert page.run(visible) == [] and text(page, ".text") == "p-e-a-r"


def test_a_full_context_forgets(dialog, new_page, tmp_path):
    page = new_page(dialog.url + "/", expected=("status of 400",))
    notice = "document.getElementById('notice').textContent"
    for word in ("pear", "plum", "fig"):
        ask(page, f"Spell {word}." + " Please." * 25)
        assert text(page, ".error") == ""
    assert "The context is full" in page.run(notice)
    assert page.run("document.querySelectorAll('.turn').length") == 3
    assert sum(url.endswith("/completions") for url in page.requests()) == 4  # the third question went twice
    (tmp_path / "limit").mkdir()
    (tmp_path / "after").mkdir()
    # Where next to nothing is left, questions go rather than the answer.
    set_field(page, "max_tokens", 505)
    ask(page, "Spell fig." + " Please." * 4)
    kept = save(page, tmp_path)[1]
    assert 64 <= kept["options"]["max_tokens"] < 505 and len(kept["messages"]) < 7
    assert "The context is full" in page.run(notice)
    # A long answer is a limit and takes nothing away; a question that is too long alone neither, and is told as that.
    page.click("#clear")
    ask(page, "Spell fig.")
    ask(page, "Spell pear.")
    sent = save(page, tmp_path / "limit")[1]
    assert [m["content"] for m in sent["messages"]] == ["Spell fig.", "f-i-g", "Spell pear."]
    prompt = dialog.post(CHAT, {"messages": sent["messages"], "max_tokens": 1})["usage"]["prompt_tokens"]
    assert sent["options"]["max_tokens"] == 512 - prompt < 505 and page.run(notice) == ""
    for longest in (505, ""):
        set_field(page, "max_tokens", longest)
        ask(page, "Spell pear." + " Please." * 200)
        assert text(page, ".error").startswith("This question is too long: even without") and page.run(notice) == ""
    ask(page, "And backwards?")
    assert text(page, ".text") == "r-a-e-p" and len(save(page, tmp_path / "after")[1]["messages"]) == 5


# ---- what goes wrong ----

def test_stopping_and_servers_that_die(files, new_page):
    refused = ("net::ERR_", "Failed to load resource")
    server = S.Server(files["dialog"], "--rows", 64)
    page = new_page(server.url + "/", refused)
    os.kill(server.process.pid, signal.SIGSTOP)
    ask(page, "Spell pear.", wait=False)
    page.wait("!document.getElementById('stop').hidden")
    page.press("Escape")
    finished(page)
    assert text(page, ".state") == "stopped" and page.run("document.getElementById('said').textContent") == "Stopped."
    os.kill(server.process.pid, signal.SIGCONT)
    press(page, "Retry")
    finished(page)
    assert text(page, ".text") == "p-e-a-r"
    os.kill(server.process.pid, signal.SIGSTOP)
    ask(page, "And backwards?", wait=False)
    page.wait("!document.getElementById('stop').hidden")
    server.process.kill()
    finished(page)
    assert text(page, ".error") == "The server does not answer. Is it still running?"
    server.process.communicate(timeout=60)
    press(page, "Retry")
    finished(page)
    assert "does not answer" in text(page, ".error")
    assert page.run("document.querySelectorAll('.turn').length") == 2  # the answer before is there


def test_behind_a_proxy(proxy, new_page, tmp_path):
    """Everything is relative to the page. Errors, waiting, and answers that are markup, under a path."""
    page = new_page(proxy.url, ("status of 503", "status of 502", "ERR_INCOMPLETE"))
    ask(page, "Spell pear.")
    assert text(page, ".text") == "p-e-a-r"
    # Full: the server says when it has room again.
    full = {"error": {"message": "the queue is full", "type": "x", "param": None, "code": "queue_full"}}
    proxy.script((503, {"Retry-After": "1"}, json.dumps(full).encode()))
    ask(page, "And backwards?")
    assert text(page, ".error") == "the queue is full"
    assert page.run(f"[...{LAST}.querySelectorAll('.bar .buttons button')].map((b) => [b.textContent, b.disabled])") == [["Retry in 1 s", True]]
    page.wait(f"{LAST}.querySelector('.bar .buttons button').textContent === 'Retry'")
    press(page, "Retry")
    finished(page)
    # What failed is no part of the conversation.
    assert text(page, ".text") == "r-a-e-p" and len(proxy.bodies[-1]["messages"]) == 3
    # A stream that breaks off, an error in it, a proxy that has no server, a pass that is none.
    for script, words in ((chunk({"content": "p"}), "ended the answer before it was whole"),
                          (chunk({"content": "p"}) + 'data: {"error": {"message": "the server is stopping"}}\n\n', "the server is stopping"),
                          ((502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"), "answered with status 502"),
                          (frame(0, 1, [[9, 1, "x", 0.5]], 8), "a pass that cannot be shown: a change is not on the canvas")):
        proxy.script(script)
        ask(page, "What?")
        assert words in text(page, ".error") and text(page, ".state") == ""
    # Text is text, tokens too; reasoning is folded away, line ends are seen.
    evil = "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script>&amp;\nline"
    proxy.script(frame(-1, 1, [], 0) + chunk({"reasoning_content": "<b>why</b>"}) +
                 frame(0, 2, [[0, 5, evil, 0.7], [1, 6, "\n", -0.5]], 3) + chunk({"content": evil}) + last(2, 2))
    ask(page, "<i>hm</i>")
    assert text(page, ".text") == evil and text(page, ".thought") == "<b>why</b>"
    assert not page.run(f"{LAST}.querySelector('.reasoning').open") and page.run(f"{LAST}.querySelector('img, script, b') === null")
    assert canvas(page)[0][0] == evil.replace("\n", "\u21b5\n") and canvas(page)[1] == ("\u21b5\n", {"token", "c1", "new"})
    assert "bad" not in page.run("document.title") and page.run("document.querySelector('i') === null")
    assert text(page, ".caption").startswith("pass 1 of 1: 2 of 3 known")
    # A view of a running answer stays a while at each pass, though all came at once.
    page.run("""localStorage.setItem('diffulex-edge.pace', '60'); window.seen = [];
        new MutationObserver(() => seen.push([...document.querySelectorAll('.caption')].pop().textContent.split(' of')[0]))
            .observe(document.getElementById('turns'), {subtree: true, childList: true, characterData: true})""")
    proxy.script("".join(frame(0, k, [[k - 1, 60 + k, "abc"[k - 1], 0.9]], 3) for k in (1, 2, 3)) + chunk({"content": "abc"}) + last(3, 3))
    ask(page, "all at once")
    page.wait(f"{LAST}.querySelector('input[type=range]').value === '3'")
    assert {"pass 1", "pass 2", "pass 3"} <= set(page.run("seen")) and [t for t, _ in canvas(page)] == ["a", "b", "c"]
    # However many come at once: they are laid out a few times only, and the view catches up by several in one picture.
    n = 200
    page.run("localStorage.setItem('diffulex-edge.pace', '20'); localStorage.setItem('diffulex-edge.view', 'text'); seen = []")
    proxy.script("".join(frame(0, k, [[k - 1, 5, "b", 0.9]], n) + chunk({"content": "b"}) for k in range(1, n + 1)) + last(n, n))
    page.call("Performance.enable")
    layouts = [0, 0]
    for i in (0, 1):
        layouts[i] = next(m["value"] for m in page.call("Performance.getMetrics")["metrics"] if m["name"] == "LayoutCount")
        if i == 0:
            ask(page, "many at once")
            page.wait(f"{LAST}.querySelector('input[type=range]').value === '{n}'")
    assert text(page, ".text") == "b" * n and layouts[1] - layouts[0] < n / 2 and 8 < len(set(page.run("seen"))) < n / 2
    page.run("localStorage.setItem('diffulex-edge.pace', '0'); localStorage.setItem('diffulex-edge.view', 'passes')")
    # Masks turn into tokens while passes come; the connection ends with a press of Stop.
    held = Held(frame(-1, 1, [], 0) + frame(0, 2, [[2, 5, "c", 0.9]], 4) + frame(0, 3, [[1, 5, "b", 0.9]], 4))
    proxy.script(held)
    ask(page, "slow", wait=False)
    page.wait(f"{LAST}.querySelector('.new')?.textContent === 'b'")
    assert [t for t, _ in canvas(page)] == ["\u2591", "b", "c", "\u2591"] and "so far" in text(page, ".caption")
    page.click("#stop")
    finished(page)
    assert [m["content"] for m in proxy.bodies[-1]["messages"] if m["role"] == "user"] == [
        "Spell pear.", "And backwards?", "<i>hm</i>", "all at once", "many at once", "slow"]
    assert held.closed.wait(20) and page.run("document.getElementById('said').textContent").startswith("Stopped. 2 tokens")
    # What came of an answer that was stopped, or that broke off, has its numbers; the prompt's passes are among them.
    state = "stopped \u00b7 2 tokens \u00b7 3 passes \u00b7 0.67 tokens a pass \u00b7 667 tokens/s"
    assert text(page, ".state") == state
    file, recording = save(page, tmp_path)
    assert recording["answer"] == {"text": "", "reasoning": "", "finish": "stopped", "tokens": 2, "passes": 3,
                                   "tokensPerPass": 2 / 3, "milliseconds": 3}
    page.choose_file("#file", file)
    page.wait(f"{LAST}.closest('.recording') !== null")
    assert text(page, ".state") == state
    proxy.script(frame(0, 1, [[0, 5, "b", 0.9], [1, 541, "", 0.9], [2, 5, "b", 0.9]], 4) + chunk({"content": "b"}))
    ask(page, "broken")
    assert "ended the answer before it was whole" in text(page, ".error")
    assert text(page, ".state") == "broken off \u00b7 1 token \u00b7 1 pass \u00b7 1 tokens a pass \u00b7 1,000 tokens/s"


def test_a_key(files, new_page):
    with S.serving(files["dialog"], "--rows", 64, "--api-key", "secret") as s:
        page = new_page(s.url + "/", ("status of 401",), ready=False)
        page.wait("document.getElementById('key-dialog').open")
        assert page.run("document.activeElement.id") == "key"
        page.type("wrong")
        page.press("Enter")
        page.wait("document.getElementById('key-dialog').open && !document.getElementById('key-wrong').hidden")
        page.type("secret")
        page.press("Enter")
        page.wait("document.getElementById('model').textContent")
        ask(page, "Spell pear.")
        assert text(page, ".text") == "p-e-a-r"
        assert page.run("sessionStorage.getItem('diffulex-edge.key')") == "secret"
        assert "secret" not in page.run("JSON.stringify(localStorage) + document.cookie + document.documentElement.outerHTML")
        assert not any("secret" in r for r in page.requests())
        # One that stops fitting is asked for again, and the question with it.
        page.run("sessionStorage.setItem('diffulex-edge.key', 'old')")
        ask(page, "And backwards?", wait=False)
        page.wait("document.getElementById('key-dialog').open")
        page.type("secret")
        page.press("Enter")
        page.wait(f"{LAST}.querySelector('.text').textContent === 'r-a-e-p'")
        # Who gives none is told what to do.
        page.run("sessionStorage.clear()")
        page.open(s.url + "/")
        page.wait("document.getElementById('key-dialog').open")
        page.press("Escape")
        assert "Without a key" in page.wait("document.getElementById('notice').textContent")


# ---- looks ----

# The contrast of every text with what is behind it, by WCAG's formula; {ratio, text} of those below 4.5.
CONTRAST = """(() => {
    const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
    const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
                            throw new Error("nothing is behind the page"); };
    const bad = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n; (n = walker.nextNode());) {
        const e = n.parentElement;
        if (!n.textContent.trim() || !e.checkVisibility() || e.matches(".mask, :disabled, .unseen, option")) continue;
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) bad.push([ratio, n.textContent]);
    }
    return bad;
})()"""
LIGHTNESS = """['c3', 'c2', 'c1', 'c0'].map((c) => { const m = getComputedStyle(document.querySelector('#legend .' + c)).backgroundColor
    .match(/[\\d.]+/g).map(Number); return m[3] === 0 ? null : 0.2126 * m[0] + 0.7152 * m[1] + 0.0722 * m[2]; })"""


def test_dark_light_and_small(dialog, new_page):
    page = new_page(dialog.url + "/", width=360, height=640)
    page.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    for name, value in {"temperature": 1.5, "seed": 7, "max_tokens": 60, **WILD["diffusion"]}.items():
        set_field(page, name, value)
    ask(page, "Spell pear." + "x" * 300)
    page.click("#settings-button")
    page.run("document.querySelector('#settings details').open = true")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        seen[scheme] = page.run(background)
        assert page.run(CONTRAST) == []
        # Lightness alone orders confidence: the surest is as the page, and each step is further from it.
        steps = page.run(LIGHTNESS)
        assert steps[0] is None and (sorted(steps[1:], reverse=scheme == "light") == steps[1:])
        assert min(abs(a - b) for a, b in zip(steps[1:], steps[2:])) > 20
    assert page.run("getComputedStyle(document.querySelector('.new')).animationName") == "none"
    for width in (360, 800):
        page.resize(width, 640)
        assert page.run("document.documentElement.scrollWidth") <= width
        wide = page.run(f"""[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() &&
            !e.closest('.unseen, .skip') && e.getBoundingClientRect().right > {width} + 0.5).map((e) => e.outerHTML.slice(0, 80))""")
        assert wide == []
    # Where fills are not seen lines tell confidence; paper has no buttons and is light; a low window is not full of the question.
    page.media(forced_colors="active")
    lines = page.run("['c3', 'c2', 'c1', 'c0'].map((c) => getComputedStyle(document.querySelector('#legend .' + c)).borderBottomStyle)")
    assert lines == ["none", "dotted", "dashed", "solid"]
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.run(background) == seen["light"] and page.run("[...document.querySelectorAll('button, input, textarea')].every((e) => !e.checkVisibility())")
    assert page.run(f"{LAST}.querySelector('.canvas').checkVisibility() && document.getElementById('legend').checkVisibility()")
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    position = "getComputedStyle(document.querySelector('footer')).position"
    assert page.run(position) == "sticky"
    page.resize(640, 360)
    assert page.run(position) == "static"
    # The switch wins over the system, and stays.
    page.media(prefers_color_scheme="light")
    page.run("document.getElementById('theme').click()")
    assert page.run(background) == seen["light"]
    page.run("document.getElementById('theme').click()")
    assert page.run(background) == seen["dark"]
    page.open(dialog.url + "/")
    page.wait("document.getElementById('model').textContent")
    assert page.run(background) == seen["dark"] and page.run("document.getElementById('theme').textContent") == "Dark"


# ---- without a mouse, without eyes ----

def test_keyboard_and_names(dialog, new_page):
    page = new_page(dialog.url + "/")
    assert page.run("document.activeElement.id") == "question"
    page.type("Spell pear.")
    page.press("Enter")
    finished(page)
    page.run("document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in range(40):
        page.press("Tab")
        tag = page.run("""(() => { const e = document.activeElement; if (e === document.body) return null;
            const s = getComputedStyle(e); const label = e.getAttribute('aria-label') || (e.labels && e.labels[0] || e).textContent.trim() || e.title;
            return [e.tagName, label, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; })()""")
        if tag is None or (reached and tag == reached[0]):
            break
        reached.append(tag)
    assert all(outlined and label for _, label, outlined in reached), reached
    labels = [label for _, label, _ in reached]
    assert labels[:5] == ["To the question", "Open", "Clear", "Settings", "System colours"]
    for label in ("To the beginning", "Back one pass", "Play", "Forward one pass", "To the end", "Pass", "Speed", "Passes", "Text", "Copy",
                  "Retry", "Save recording", "Question", "Send"):
        assert label in labels, labels
    assert any(label.startswith("Canvas after pass 2 of 2") for label in labels)
    tree = page.tree()
    named = {"button", "textbox", "slider", "combobox", "spinbutton", "group", "main", "article", "region", "dialog", "link", "image",
             "application"}
    assert [node for node in tree if node[0] in named and not node[1]] == []
    for node in (("heading", "DiffuLex Edge"), ("main", "Conversation"), ("slider", "Pass"), ("article", "Answer"),
                 ("group", "Timeline"), ("group", "Legend"), ("textbox", "Question")):
        assert node in tree, (node, tree)
    assert "status" in {role for role, _ in tree} and "alert" in {role for role, _ in tree}
    # Replays by keys alone: the focus stays, and what a key did is told.
    state = f"[document.activeElement.title, {LAST}.querySelector('input[type=range]').value, " \
        "document.getElementById('said').textContent.split(':')[0]]"
    page.run(f"{LAST}.querySelector('[title=\"Back one pass\"]').focus(); {LAST}.querySelector('.controls select').value = '16'")
    page.press(" ")
    assert page.run(state) == ["Back one pass", "1", "pass 1 of 2"]
    page.press("Tab")
    page.press("Enter")
    page.wait(f"{state}.join() === 'Play,2,pass 2 of 2'")
    page.press("Tab")
    page.press("Tab")
    page.press("Tab", modifiers=8)
    page.press("Enter")
    assert page.run(state) == ["Forward one pass", "2", "pass 2 of 2"]
    page.run(f"{LAST}.querySelector('.canvas').focus()")
    page.press("End")
    page.press("ArrowLeft")
    live = {n["name"]["value"] if n["role"]["value"] == "application" else n["role"]["value"]:
            {p["name"]: p["value"].get("value") for p in n["properties"]} for n in page.call("Accessibility.getFullAXTree")["nodes"]
            if not n["ignored"] and n["role"]["value"] in ("application", "status", "alert")}
    focused = [name for name, about in live.items() if about.get("focused")]
    assert len(focused) == 1 and focused[0].startswith("Canvas after pass 2 of 2: 9 of 9 known")
    assert (live["status"]["live"], live["alert"]["live"]) == ("polite", "assertive")
    assert text(page, "output[class=detail]").startswith("position 7: ")
    # The button of Retry goes with its answer; the focus does not get lost.
    page.run(f"{LAST}.querySelector('.bar .buttons').children[1].focus()")
    page.press("Enter")
    finished(page)
    assert page.run("document.activeElement.id") == "question" and text(page, ".text") == "p-e-a-r"
    # Settings by keyboard, and Esc closes them.
    page.run("document.getElementById('settings-button').focus()")
    page.press("Enter")
    assert page.run("document.getElementById('settings-button').getAttribute('aria-expanded')") == "true"
    page.run("document.querySelector('#settings details').open = true")
    assert [node for node in page.tree() if node[0] in named and not node[1]] == []
    assert page.run("""[...document.querySelectorAll('#settings :is(input, select, textarea)')].every((e) =>
        e.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(''))""")
    page.press("Tab")
    page.press("Tab")
    page.press("Escape")
    assert page.run("document.getElementById('settings').hidden") and page.run("document.activeElement.id") == "settings-button"
