"""A headless Chromium, spoken to in its own protocol through two pipes: no driver is needed."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from io import BytesIO
from tempfile import TemporaryDirectory

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
FLAGS += ["--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"]


def find():
    """The path of a Chromium, or of a browser built from it; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Opens pages; `errors` has what they wrote to the console as errors and could not load."""

    def __init__(self, width=1200, height=1000):
        self.size = {"width": width, "height": height}
        self.errors = []
        self._number = 0

    def __enter__(self):
        self._profile = TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        command = [find(), *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        # Chromium reads from 3 and writes to 4, not with the numbers they have here
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        metrics = {"deviceScaleFactor": 1, "mobile": False, **self.size}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def open(self, url, ready="document.readyState == 'complete'", seconds=60):
        """Load a page and wait until the JavaScript `ready` is true in it."""
        self._call("Page.navigate", url=str(url))
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"location.href != 'about:blank' && Boolean({ready})"):
            assert time.monotonic() < deadline, f"{url}: never {ready}; {self.errors}"
            time.sleep(0.05)

    def evaluate(self, expression):
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return done["result"].get("value")

    def screenshot(self, whole=True):
        """What the page looks like, as a PIL image."""
        from PIL import Image

        data = self._call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        return Image.open(BytesIO(b64decode(data))).convert("RGB")

    def _call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _receive(self):
        while b"\0" not in self._buffer:
            got = os.read(self._read, 1 << 16)
            assert got, "the browser has ended"
            self._buffer += got
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("text", "exception"))
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(
                [one.get("value") or one.get("description") for one in params["args"]]
            )
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url')}")
        elif event["method"] == "Network.loadingFailed" and not params.get("canceled"):
            self.errors.append(params["errorText"])
