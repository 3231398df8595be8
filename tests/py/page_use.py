"""What tests of the server's page do with it, and the canvas that they expect of it."""
import json
import time

CHAT = "/v1/chat/completions"
LAST = "[...document.querySelectorAll('.answer')].pop()"


def ask(page, question, wait=True):
    page.run("document.getElementById('question').focus()")
    page.type(question)
    page.press("Enter")
    if wait:
        finished(page)


def finished(page):
    page.wait(f"document.getElementById('turns').getAttribute('aria-busy') === 'false' && {LAST}.querySelector('.bar .buttons *') !== null")


def text(page, selector, within=LAST):
    return page.run(f"{within}.querySelector({json.dumps(selector)}).textContent")


def press(page, label, within=LAST):
    """Clicks the button with this text or label."""
    found = page.run(f"""(() => {{ const b = [...{within}.querySelectorAll('button')].find((b) =>
        b.textContent === {json.dumps(label)} || b.title === {json.dumps(label)});
        if (b) b.click(); return Boolean(b); }})()""")
    assert found, label


def set_field(page, name, value):
    page.run(f"""(() => {{ const e = document.getElementById({json.dumps('set-' + name)}); e.value = {json.dumps(str(value))};
        e.dispatchEvent(new Event('input', {{bubbles: true}})); }})()""")


def save(page, folder):
    """The file of the last answer's recording, and what it holds."""
    page.downloads(folder)
    press(page, "Save recording")
    deadline = time.monotonic() + 20
    while not (saved := [p for p in folder.glob("*.json") if p.read_text().endswith("}\n")]):  # it has its name before it is whole
        assert time.monotonic() < deadline
        page.run("0")
    return saved[0], json.loads(saved[0].read_text())


def canvas(page, within=LAST):
    """[(text, classes)] of what is drawn."""
    return [(t, set(c.split())) for t, c in page.run(
        f"[...{within}.querySelector('.canvas').children].map((s) => [s.textContent, s.className])")]


def expected_canvas(frames, k, stops):
    """The same from the frames of a stream: what stands after pass k. Written from docs/SERVER.md."""
    now = frames[max(k, 1) - 1]
    cells = [None] * now["canvas"]
    for number, f in enumerate(frames[:k], 1):
        for position, token, piece, score in f["changes"]:
            cells[position] = (token, piece, 2.718281828459045 ** score if score < 0 else score, number)
        for first, n, whole in f.get("joined", []):
            for i in range(first, first + n):
                cells[i] = (cells[i][0], whole if i == first else "", *cells[i][2:])
    end = next((i for i, c in enumerate(cells) if c is None or c[0] in stops), len(cells))
    ended = end < len(cells) and cells[end] is not None
    out = []
    for i, c in enumerate(cells):
        if c is None:
            out.append(("\u2591", {"mask", "active" if now["begin"] <= i < now["end"] else "later"}))
            continue
        classes = {"token", "c" + str(sum(c[2] >= b for b in (0.5, 0.8, 0.95)))}
        if c[3] == k:
            classes.add("new")
        if ended and i >= end:
            classes.add("after")
        out.append(("\u00b7" if ended and i > end and c[0] in stops else c[1].replace("\n", "\u21b5\n"), classes))
    return out


def frames_of(server, body):
    chunks = server.chunks(CHAT, {**body, "stream": True, "diffusion": {**body.get("diffusion", {}), "steps": True}})
    return [c["diffusion"] for c in chunks if "changes" in c.get("diffusion", {})]
