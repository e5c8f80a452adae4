"""Searching while somebody types, over a WebSocket. `async_typing.py` is for those who await."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import Unpack

from httpx_ws import WebSocketSession

from service.client import requests
from service.client.errors import TimedOut
from service.client.keystrokes import Keystrokes
from service.client.models import Mode, SearchEvent
from service.client.requests import SearchOptions
from service.client.seam import Seam
from service.client.sync_wire import Wire


class Typing:
    """One connection. To iterate is to hear of the newest search, until it is done."""

    def __init__(self, socket: WebSocketSession, seam: Seam, timeout: float) -> None:
        self._socket = socket
        self._seam = seam
        self._timeout = timeout
        self._keystrokes = Keystrokes(seam.error)

    def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> None:
        """Search for this, and no more for what was searched for before."""
        with contextlib.suppress(queue.Empty):
            while True:  # what nobody has read is of older searches
                self._hear(0)
        self._send(self._keystrokes.search(text, mode, options))

    def cancel(self) -> None:
        """Search for nothing; the connection stays."""
        for message in self._keystrokes.cancel():
            self._send(message)

    def __iter__(self) -> Iterator[SearchEvent]:
        while True:
            if (event := self._keystrokes.take()) is not None:
                yield event
            elif self._keystrokes.under_way:
                try:
                    self._hear(self._timeout)
                except queue.Empty:
                    raise TimedOut(f"Nothing was heard for {self._timeout:g} s") from None
            else:
                return

    def _send(self, message: str) -> None:
        with self._seam.mapped():
            self._socket.send_text(message)

    def _hear(self, seconds: float) -> None:
        with self._seam.mapped():
            message = self._socket.receive_text(seconds)
        self._keystrokes.heard(message)


@contextlib.contextmanager
def typing_session(wire: Wire) -> Iterator[Typing]:
    """A connection, closed at the end of the block."""
    error = None
    with (
        wire.opened(requests.typing()) as response,
        WebSocketSession(response.extensions["network_stream"], response=response) as socket,
    ):
        try:
            yield Typing(socket, wire.seam, wire.timeout)
        except Exception as exc:  # not the wire's: it is raised as it is, outside of it
            error = exc
    if error is not None:
        raise error
