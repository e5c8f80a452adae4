"""Search as you type over a WebSocket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Unpack

from service.client import async_io, endpoints
from service.client._async.transport import AsyncTransport
from service.client.async_io import AsyncWebSocket
from service.client.endpoints import SearchOptions
from service.client.errors import TimedOut
from service.client.models import Mode, SearchEvent
from service.client.typing_protocol import TypingProtocol


class AsyncTyping:
    """One connection. Iterating over it yields the events of the newest search until it is done."""

    def __init__(self, socket: AsyncWebSocket, transport: AsyncTransport) -> None:
        self._socket = socket
        self._transport = transport
        self._protocol = TypingProtocol(transport.errors.from_body)

    async def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> None:
        """Start a search, which replaces the one before."""
        message = self._protocol.search(text, mode, options)
        with contextlib.suppress(TimeoutError):
            while True:  # messages about earlier searches, which nobody has read
                await self._receive(0)
        await self._send(message)

    async def cancel(self) -> None:
        """Cancel the search. The connection stays open."""
        for message in self._protocol.cancel():
            await self._send(message)

    async def __aiter__(self) -> AsyncIterator[SearchEvent]:
        while True:
            if (event := self._protocol.next_event()) is not None:
                yield event
            elif self._protocol.is_active:
                timeout_s = self._transport.timeout_s
                try:
                    await self._receive(timeout_s)
                except TimeoutError:
                    raise TimedOut(f"no message for {timeout_s:g} s") from None
            else:
                return

    async def _send(self, message: str) -> None:
        with self._transport.errors.map_exceptions():
            await self._socket.send(message)

    async def _receive(self, timeout_s: float) -> None:
        with self._transport.errors.map_exceptions():
            message = await self._socket.receive(timeout_s)
        self._protocol.receive(message)


@contextlib.asynccontextmanager
async def open_typing(transport: AsyncTransport) -> AsyncIterator[AsyncTyping]:
    error = None
    async with (
        transport.stream(endpoints.typing()) as response,
        async_io.open_websocket(response) as socket,
    ):
        typing = AsyncTyping(socket, transport)
        try:
            yield typing
        except Exception as exc:  # the caller's: raised below, so that nothing maps it
            error = exc
        finally:
            typing._protocol.close()
    if error is not None:
        raise error
