#!/usr/bin/env python3
"""An animated picture (WebP) of the server's page, for the README.

usage: page_picture.py [--dark] OUTPUT.webp [QUESTION ...]

Serves the dialogue model of demo/, opens the page in headless Chromium, types the questions, and takes a picture of each
pass of each answer. Needs the built program, Chromium, pytest and Pillow (pip install pytest pillow).
"""
import argparse
import io
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "py"))
import browser  # noqa: E402
import server  # noqa: E402

QUESTIONS = ["Put in alphabetical order: road, beetle, ice, banana", "And in reverse order?"]
TYPED = 4  # characters a picture
WIDTH, HEIGHT, SCALE = 720, 470, 1.5


class Recorder:
    def __init__(self, page):
        self.page, self.pictures, self.times = page, [], []

    def take(self, milliseconds):
        self.pictures.append(Image.open(io.BytesIO(self.page.picture())).convert("RGB"))
        self.times.append(milliseconds)

    def ask(self, question):
        page = self.page
        for at in range(0, len(question), TYPED):
            page.type(question[at:at + TYPED])
            self.take(70)
        self.times[-1] = 500
        n = page.run("document.querySelectorAll('.answer').length")
        page.press("Enter")
        page.wait(f"document.querySelectorAll('.answer').length > {n} && "
                  "document.getElementById('turns').getAttribute('aria-busy') === 'false'")
        slider = "[...document.querySelectorAll('input[type=range]')].pop()"
        passes = int(page.run(f"{slider}.max"))
        for k in range(passes + 1):
            page.run(f"{slider}.value = {k}; {slider}.dispatchEvent(new Event('input'))")
            self.take(450)
        self.times[-1] = 1500

    def save(self, path):
        self.times[-1] = 4000
        first, *more = self.pictures
        first.save(path, save_all=True, append_images=more, duration=self.times, loop=0, lossless=True, quality=100, method=4,
                   minimize_size=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("output", type=Path)
    parser.add_argument("question", nargs="*", default=QUESTIONS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = server.export(server.checkpoint("dialog"), Path(folder) / "dialog.pte", "int8-dynamic")
        with server.serving(model) as s:
            b = browser.Browser(folder)
            try:
                page = b.page(WIDTH, HEIGHT)
                page.resize(WIDTH, HEIGHT, SCALE)
                page.media(prefers_color_scheme="dark" if args.dark else "light", prefers_reduced_motion="reduce")
                page.open(s.url + "/")
                page.wait("document.getElementById('model').textContent")
                page.run("localStorage.setItem('diffulex-edge.pace', '0')")
                recorder = Recorder(page)
                recorder.take(600)
                for question in args.question:
                    recorder.ask(question)
            finally:
                b.close()
    recorder.save(args.output)
    print(f"{args.output}: {len(recorder.pictures)} pictures, {os.path.getsize(args.output)} bytes")


if __name__ == "__main__":
    main()
