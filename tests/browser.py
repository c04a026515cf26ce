"""A headless Chromium, driven through a pipe with the DevTools protocol: nothing but the standard library."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from select import select

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)
PATIENCE = 60.0
"""Seconds for an answer, on a machine whose processors are busy."""
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "Tab": 9, "Enter": 13, "Escape": 27}
SHIFT = 8
HIGH = 20
"""Descriptors from which on none is 3 or 4, those that the browser reads and writes."""


def chromium():
    """The path of a browser; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser that knows nothing but what it is told."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="limits-browser-")
        (read, ours_out), (ours_in, write) = os.pipe(), os.pipe()
        theirs_in, theirs_out = (fcntl(end, F_DUPFD, HIGH) for end in (read, write))
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-'
        command = ["bash", "-c", script, "bash", program, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), **quiet)
        for end in (read, write, theirs_in, theirs_out):
            os.close(end)
        self.reads, self.writes, self.buffer, self.last, self.events = ours_in, ours_out, b"", 0, deque()
        self.session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """The result of a command."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params} | ({"sessionId": self.session} if self.session else {})
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        return self._until(lambda m: m.get("id") == self.last)

    def _until(self, wanted):
        end = time.monotonic() + PATIENCE
        while True:
            message = self._read(end)
            if "id" not in message:
                self.events.append(message)
            if wanted(message):
                if "error" in message:
                    raise RuntimeError(message["error"])
                return message.get("result", message.get("params"))

    def _read(self, end):
        while b"\0" not in self.buffer:
            if not select([self.reads], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            if not (part := os.read(self.reads, 1 << 20)):
                raise ConnectionError("the browser is gone")
            self.buffer += part
        one, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(one)

    def open(self, url):
        """Load a page, and forget what was there before."""
        for address in ("about:blank", url):
            self.events.clear()
            self.send("Page.navigate", url=address)
            if not any(e["method"] == "Page.loadEventFired" for e in self.events):
                self._until(lambda m: m.get("method") == "Page.loadEventFired")

    def ask(self, expression):
        """The value of an expression on the page, once it has been drawn."""
        code = f"new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done({expression}))))"
        found = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def screen(self, width, height, *, touch=False, scale=1):
        """The size of the window, with a finger instead of a mouse where asked."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def media(self, kind="", **features):
        """The medium, and what the reader prefers, such as prefers_color_scheme="dark"."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", media=kind, features=named)

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y):
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def tap(self, x, y):
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key, *, shift=False):
        more = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": SHIFT if shift else 0}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **more)

    def type(self, text):
        self.send("Input.insertText", text=text)

    def picture(self, path, *, whole=False):
        """A screenshot."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def complaints(self):
        """What the console and uncaught exceptions said."""
        self.ask("0")
        loud = {"Runtime.exceptionThrown", "Log.entryAdded"}
        said = [e for e in self.events if e["method"] in loud]
        return said + [e for e in self.events if e["method"] == "Runtime.consoleAPICalled" and e["params"]["type"] != "log"]

    def requests(self):
        """The addresses that were asked for."""
        self.ask("0")
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def close(self):
        with contextlib.suppress(Exception):
            self.session = None
            self.send("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.reads)
        os.close(self.writes)
        shutil.rmtree(self.profile, ignore_errors=True)
