"""Searching while somebody types, over a WebSocket. `async_typing.py` is for those who await."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
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

    def __init__(self, session: WebSocketSession, seam: Seam, timeout: float) -> None:
        self._session = session
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
            self._session.send_text(message)

    def _hear(self, seconds: float) -> None:
        with self._seam.mapped():
            message = self._session.receive_text(seconds)
        self._keystrokes.heard(message)


class _Socket(WebSocketSession):
    """A session whose reading thread ends with it, whatever the other side does.

    To close a socket does not wake a thread that reads from it: to shut it down does.
    """

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        with contextlib.ExitStack() as stack:
            kept = self.stream.get_extra_info("socket")
            if kept is not None and kept.fileno() >= 0:
                same = stack.enter_context(socket.socket(fileno=os.dup(kept.fileno())))
                stack.callback(_shut_down, same)
            super().close(code, reason)


def _shut_down(either: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was quicker
        either.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def typing_session(wire: Wire) -> Iterator[Typing]:
    """A connection, closed at the end of the block."""
    error = None
    with (
        wire.opened(requests.typing()) as response,
        _Socket(response.extensions["network_stream"], response=response) as opened,
    ):
        typing = Typing(opened, wire.seam, wire.timeout)
        try:
            yield typing
        except Exception as exc:  # not the wire's: it is raised as it is, outside of it
            error = exc
        finally:
            typing._keystrokes.end()
    if error is not None:
        raise error
