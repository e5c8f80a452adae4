"""A headless Chromium, driven over the DevTools protocol.

It reaches this machine only: no name is resolved, except those that a test maps to 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.programs import find_program, skip_or_fail

PATIENCE_S = 60.0
LISTENING = re.compile(r"DevTools listening on (ws://\S+)")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it only sees pages of ours, and containers have no namespaces for one
    "--remote-debugging-port=0",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-proxy-server",
)


class Page:
    """A tab."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to `url`; returns when everything of it is loaded."""
        failure = self._send("Page.navigate", url=url).get("errorText")
        assert failure is None, f"{url}: {failure}"
        self._chromium.wait_for_event("Page.loadEventFired", self._session)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a JavaScript function; returns what its promise resolves to."""
        values = ", ".join(json.dumps(argument) for argument in arguments)
        answer = self._send(
            "Runtime.evaluate",
            expression=f"({function})({values})",
            awaitPromise=True,
            returnByValue=True,
        )
        if failure := answer.get("exceptionDetails"):
            raise AssertionError(failure["exception"].get("description", failure["text"]))
        return answer["result"].get("value")

    def errors(self) -> list[str]:
        """The errors that the browser has reported so far, such as what a policy has blocked."""
        entries = [event["entry"] for event in self._chromium.events("Log.entryAdded")]
        return [f"{each['source']}: {each['text']}" for each in entries if each["level"] == "error"]

    def wait_for_error(self, text: str) -> None:
        while not any(text in error for error in self.errors()):
            self._chromium.receive()

    def _send(self, method: str, **parameters: Any) -> Any:
        return self._chromium.send(method, self._session, **parameters)


class Chromium:
    """The browser. Events are kept until the next page is opened."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._events: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def page(self, url: str) -> Iterator[Page]:
        """A new tab with a profile of its own: no cache, no cookies."""
        self._events.clear()
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"])
        page.open(url)
        yield page
        self.send("Target.disposeBrowserContext", browserContextId=context)

    def send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Send a command; returns its result."""
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": parameters}
        self._socket.send(json.dumps(command | ({"sessionId": session} if session else {})))
        while (message := self.receive()).get("id") != self._last_id:
            pass
        assert "error" not in message, f"{method}: {message['error']}"
        return message["result"]

    def events(self, method: str) -> list[Any]:
        return [each["params"] for each in self._events if each["method"] == method]

    def wait_for_event(self, method: str, session: str) -> None:
        while not any(
            each["method"] == method and each.get("sessionId") == session for each in self._events
        ):
            self.receive()

    def receive(self) -> dict[str, Any]:
        """The next message: the result of a command, or an event, which is kept."""
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE_S))
        if "method" in message:
            self._events.append(message)
        return message


@contextlib.contextmanager
def running_chromium(folder: Path, *options: str) -> Iterator[Chromium]:
    """Run it with a profile in `folder`. The test is skipped if it is not there or can't run."""
    program = find_program("chromium", "what a browser allows pages can't be tried")
    log = folder / "chromium.log"
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options, "about:blank"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        url = _wait_until_listening(process, log)
        with connect(url, max_size=None, proxy=None, open_timeout=PATIENCE_S) as socket:
            yield Chromium(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        text = log.read_text(errors="replace")
        if found := LISTENING.search(text):
            return found[1]
        if process.poll() is not None:
            skip_or_fail(f"chromium can't run here: {text[-500:]}")
        time.sleep(0.05)
    raise AssertionError(f"chromium does not listen: {log.read_text(errors='replace')}")
