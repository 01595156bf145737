"""A small client of Chromium's devtools protocol: it loads a page, points at it, and reads what it shows."""

import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str | None:
    """The path of Chromium; None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A headless Chromium with one page; use it as a context."""

    def __init__(self, width: int, height: int) -> None:
        self.size, self.messages, self.requests = (width, height), [], []

    def __enter__(self) -> "Browser":
        import websocket

        self.folder = tempfile.mkdtemp()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-allow-origins=*"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        flags += ["--remote-debugging-port=0", f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen([executable(), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = Path(self.folder) / "DevToolsActivePort"
        port = _wait(lambda: port_file.exists() and port_file.read_text().split("\n")[0])
        pages = _wait(lambda: [page for page in _get(port) if page["type"] == "page"])
        self.socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=60)
        self.number = 0
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.send(f"{domain}.enable")
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=self.folder)
        width, height = self.size
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, method: str, **parameters) -> dict:
        """Call a method and return its result; messages and requests of the page are kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict) -> None:
        kind, what = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.messages.append(what["exceptionDetails"]["text"] + str(what["exceptionDetails"].get("exception")))
        elif kind == "Runtime.consoleAPICalled":
            self.messages.append(str(what["args"]))
        elif kind == "Log.entryAdded":
            self.messages.append(what["entry"]["text"])
        elif kind == "Network.requestWillBeSent" and not re.match("file:|data:|about:|blob:", what["request"]["url"]):
            self.requests.append(what["request"]["url"])

    def open(self, path: Path) -> None:
        """Load a report and wait until its figures are drawn."""
        self.send("Page.navigate", url=path.absolute().as_uri())
        _wait(lambda: self.run("document.body?.dataset.ready"))

    def run(self, script: str):
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def drag(self, start: list[float], end: list[float]) -> None:
        """Press the mouse at one place, move it, and let go at another; at the same place, this is a click."""
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **button)
        for x, y in [end, end] if start != end else []:
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **button)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **button)

    def touch(self, *places: list[float]) -> None:
        """Put a finger on the first place, and move it over the others."""
        kinds = ["touchStart"] + ["touchMove"] * (len(places) - 1)
        for kind, (x, y) in zip(kinds, places, strict=True):
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press a key: Tab, or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def downloaded(self, name: str) -> bytes:
        """Content of a file that the page saves, once it is there."""
        path = Path(self.folder) / name
        _wait(lambda: self.run("1") and path.exists() and path.stat().st_size > 0)
        return path.read_bytes()


def _get(port: str) -> list:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
        return json.load(answer)


def _wait(ready, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError("the browser did not answer")
