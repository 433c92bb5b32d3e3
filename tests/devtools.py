"""A live page in headless Chromium, driven through its DevTools pipe: what it asks for, prints and shows."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.browser import SWITCHES, find_browser

BASH = 'exec "$@" 3<&{} 4>&{}'  # where Chromium reads commands and writes answers


class Tab:
    """One tab. `console`: what went wrong there; `requests`: every address that it asked for.

    `microphone`: a WAV that it hears over and over.
    """

    def __init__(
        self, profile: Path, width: int = 1280, height: int = 1000, microphone: Path | None = None
    ) -> None:
        command, answer = os.pipe(), os.pipe()
        # Out of the way of the descriptors 3 and 4 that they become.
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (command[0], answer[1])]
        options = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        if microphone is not None:
            options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
            options += [f"--use-file-for-fake-audio-capture={microphone}"]
        self.browser = subprocess.Popen(
            ["bash", "-c", BASH.format(*given), "-", find_browser(), *options, *SWITCHES]
            + [f"--window-size={width},{height}"],
            pass_fds=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (*given, command[0], answer[1]):
            os.close(fd)
        self._out, self._in = command[1], answer[0]
        self._numbers, self._rest = itertools.count(1), b""
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.ask(f"{domain}.enable")

    _session: str | None = None

    def ask(self, method: str, **parameters: Any) -> Any:
        """A command's result. Raises RuntimeError with Chromium's words for one that fails."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read(60.0)
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def _read(self, timeout_s: float) -> dict[str, Any]:
        """The next message; events are noted on the way. Raises TimeoutError."""
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], timeout_s)[0]:
                raise TimeoutError("Chromium says nothing")
            self._rest += os.read(self._in, 1 << 20)
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(event["url"])
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.console.append(str([a.get("value", a.get("description")) for a in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.console.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """The value that an expression has on the page, awaited; a click counts as the reader's."""
        found = self.ask(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, timeout_s: float = 60.0) -> Any:
        """The value of an expression as soon as it counts as true. Raises TimeoutError with the page's text."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.1)
        raise TimeoutError(f"{script}: {self.run('document.body.innerText')} {self.console}")

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input of the page."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def type(self, selector: str, text: str) -> None:
        """Put a text in a box, in place of what stands there."""
        self.run(
            f"""(() => {{ const box = document.querySelector({json.dumps(selector)});
            box.value = {json.dumps(text)}; box.dispatchEvent(new Event("input", {{bubbles: true}})); }})()"""
        )

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close_tab(self) -> None:
        """As a reader closes it; the browser stays."""
        self.ask("Target.closeTarget", targetId=self.target)

    def close(self) -> None:
        """End the browser."""
        self.browser.terminate()
        self.browser.wait(20)
        os.close(self._out)
        os.close(self._in)


def leaving(requests: list[str], allowed: Callable[[str], bool] = lambda host: host == "127.0.0.1"):
    """Those requests that go to another machine."""
    parts = [(urlsplit(url), url) for url in requests]
    own = ("data", "blob", "about")
    return [url for at, url in parts if at.scheme not in own and not allowed(at.hostname or "")]
