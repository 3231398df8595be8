"""Headless Chromium over its DevTools pipe, which needs no package: messages of JSON that end with a NUL, on two
descriptors."""
import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program():
    """The path of a browser, or None."""
    return os.environ.get("DLX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Error(Exception):
    """The browser refused a call, or the page threw."""


class Browser:
    """One process with a profile of its own in `folder`. Pages that are open at one time share nothing but what browsers keep of
    files; a page that was closed leaves its tab to the next one, for a new tab costs most of a second of processor time."""

    def __init__(self, folder, *flags):
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()
        command = [program(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}/profile",
                   "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-extensions",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
                   "--disable-dev-shm-usage", "--in-process-gpu", "--hide-scrollbars", "--password-store=basic",
                   "--disable-features=BackForwardCache,SpareRendererForSitePerProcess",
                   *(["--no-sandbox"] if os.getuid() == 0 else []), *flags, "--no-startup-window"]
        shell = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command]
        self.process = subprocess.Popen(shell, pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                        env={**os.environ, "HOME": str(folder)})
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.answers, self.pages, self.spare = b"", 0, {}, {}, []

    def receive(self, seconds):
        """Takes what there is, waiting so long for the first of it; True when something came."""
        if b"\0" not in self.buffer:
            if not select.select([self.back], [], [], max(0, seconds))[0]:
                return False
            got = os.read(self.back, 1 << 20)
            if not got:
                raise Error(f"the browser ended with status {self.process.wait()}")
            self.buffer += got
        *whole, self.buffer = self.buffer.split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].events.append(message)
        return True

    def call(self, method, session=None, seconds=30, **params):
        self.number += 1
        number, deadline = self.number, time.monotonic() + seconds
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while number not in self.answers:
            if not self.receive(deadline - time.monotonic()) and time.monotonic() > deadline:
                raise Error(f"{method} took more than {seconds} s")
        answer = self.answers.pop(number)
        if "error" in answer:
            raise Error(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def page(self, width=800, height=700):
        """An empty page with cookies and storage of its own."""
        page = self.spare.pop() if self.spare else self.tab()
        page.resize(width, height)
        return page

    def tab(self):
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, context)

    def close(self):
        with contextlib.suppress(Error, OSError):
            self.call("Browser.close", seconds=10)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.to)
        os.close(self.back)


class Page:
    def __init__(self, browser, session, context):
        self.browser, self.session, self.context, self.events = browser, session, context, []
        browser.pages[session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.scripts = []

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def resize(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def media(self, **features):
        """prefers_color_scheme="dark" ..."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def open(self, url):
        self.call("Page.navigate", url=url)
        there = "===" if url == "about:blank" else "!=="
        self.wait(f"document.readyState === 'complete' && location.href {there} 'about:blank'")

    def begin_with(self, script):
        """Runs in every document, before its own scripts."""
        self.scripts.append(self.call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"])

    def run(self, script):
        """The value of an expression, awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Error(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait(self, script, seconds=30):
        """Until an expression is true; returns its value."""
        deadline, error = time.monotonic() + seconds, ""
        while True:
            try:
                value = self.run(script)
                if value:
                    return value
            except Error as e:  # between two documents; elsewhere it does not go away
                error = f" ({e})"
            if time.monotonic() > deadline:
                raise Error(f"not within {seconds} s: {script}{error}; the page shows {self.run('document.body.innerText')!r}")
            self.browser.receive(0.05)

    def click(self, selector):
        """With the mouse, in the middle of the element, which must be what is seen there."""
        x, y = self.run(f"""(() => {{
            const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}});
            const b = e.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;
            const top = document.elementFromPoint(x, y);
            if (!e.contains(top)) throw new Error("covered by " + (top && top.outerHTML.slice(0, 200)));
            return [x, y];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, modifiers=0):
        """A key by its DOM name; modifiers: 1 Alt, 2 Control, 4 Meta, 8 Shift."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
                 "Home": 36, "End": 35, " ": 32}
        text = {"Enter": "\r", " ": " "}.get(key)
        params = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key], "modifiers": modifiers,
                  **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **params)
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def choose_file(self, selector, path):
        node = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)

    def downloads(self, folder):
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", browserContextId=self.context,
                          downloadPath=str(folder))

    def allow(self, *permissions):
        self.browser.call("Browser.grantPermissions", browserContextId=self.context, permissions=list(permissions))

    def tree(self):
        """(role, name) of everything that assistive programs see."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]

    def picture(self, path=None, height=None):
        """A PNG of the window."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path:
            path.write_bytes(data)
        return data

    def requests(self):
        """The addresses of everything that was asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """What the console shows: errors and warnings, of the page and of the browser about it."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['text']} ({params['entry'].get('url')})")
        return found

    def close(self):
        """Empties the tab and leaves it to the next page."""
        self.run("localStorage.clear(), sessionStorage.clear()")
        while self.scripts:
            self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=self.scripts.pop())
        self.call("Emulation.setEmulatedMedia", media="", features=[])
        self.browser.call("Browser.resetPermissions", browserContextId=self.context)
        self.open("about:blank")
        self.events.clear()
        self.browser.spare.append(self)
