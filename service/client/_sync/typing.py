# Generated from service/client/_async/typing.py by `make generated`; do not edit.
"""Search as you type over a WebSocket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Unpack

from service.client import endpoints, sync_io
from service.client._sync.transport import Transport
from service.client.endpoints import SearchOptions
from service.client.errors import TimedOut
from service.client.models import Mode, SearchEvent
from service.client.sync_io import WebSocket
from service.client.typing_protocol import TypingProtocol


class Typing:
    """One connection. Iterating over it yields the events of the newest search until it is done."""

    def __init__(self, socket: WebSocket, transport: Transport) -> None:
        self._socket = socket
        self._transport = transport
        self._protocol = TypingProtocol(transport.errors.from_body)

    def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> None:
        """Start a search, which replaces the one before."""
        message = self._protocol.search(text, mode, options)
        with contextlib.suppress(TimeoutError):
            while True:  # messages about earlier searches, which nobody has read
                self._receive(0)
        self._send(message)

    def cancel(self) -> None:
        """Cancel the search. The connection stays open."""
        for message in self._protocol.cancel():
            self._send(message)

    def __iter__(self) -> Iterator[SearchEvent]:
        while True:
            if (event := self._protocol.next_event()) is not None:
                yield event
            elif self._protocol.is_active:
                timeout_s = self._transport.timeout_s
                try:
                    self._receive(timeout_s)
                except TimeoutError:
                    raise TimedOut(f"no message for {timeout_s:g} s") from None
            else:
                return

    def _send(self, message: str) -> None:
        with self._transport.errors.map_exceptions():
            self._socket.send(message)

    def _receive(self, timeout_s: float) -> None:
        with self._transport.errors.map_exceptions():
            message = self._socket.receive(timeout_s)
        self._protocol.receive(message)


@contextlib.contextmanager
def open_typing(transport: Transport) -> Iterator[Typing]:
    error = None
    with (
        transport.stream(endpoints.typing()) as response,
        sync_io.open_websocket(response) as socket,
    ):
        typing = Typing(socket, transport)
        try:
            yield typing
        except Exception as exc:  # the caller's: raised below, so that nothing maps it
            error = exc
        finally:
            typing._protocol.close()
    if error is not None:
        raise error
