"""The I/O that differs between the two clients: asyncio's side. `sync_io` is the other one.

The code in `_async` uses only these functions and httpx, so that `_sync` can be generated from it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator

import httpx
from httpx_ws import AsyncWebSocketSession, HTTPXWSException, WebSocketNetworkError

from service.client.call import RequestBody

sleep = asyncio.sleep
run_blocking = asyncio.to_thread


def request_body(body: RequestBody) -> bytes | AsyncIterator[bytes] | None:
    """A body as httpx takes it. An iterator may block, so it runs in a thread."""
    return _iterate_in_thread(body) if isinstance(body, Iterator) else body


async def _iterate_in_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


class AsyncWebSocket:
    """A WebSocket that is always being read, so that a slow consumer does not delay pongs."""

    def __init__(self, session: AsyncWebSocketSession) -> None:
        self._session = session
        self._received: deque[str] = deque()
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    async def send(self, message: str) -> None:
        if self._error is not None:
            raise self._error
        await self._session.send_text(message)

    async def receive(self, timeout_s: float) -> str:
        """The next message; `TimeoutError` if none arrives in time."""
        async with asyncio.timeout(timeout_s):
            while not self._received:
                if self._error is not None:
                    raise self._error
                self._changed.clear()
                await self._changed.wait()
        return self._received.popleft()

    async def _read(self) -> None:
        try:
            while True:
                self._received.append(await self._session.receive_text())
                self._changed.set()
        except Exception as exc:  # raised to the consumer
            self._error = exc
        finally:
            self._error = self._error or WebSocketNetworkError("the client closed it")
            self._changed.set()


@contextlib.asynccontextmanager
async def open_websocket(response: httpx.Response) -> AsyncIterator[AsyncWebSocket]:
    """The WebSocket of a response with status 101, closed at the end of the block."""
    session = AsyncWebSocketSession(response.extensions["network_stream"], response=response)
    try:
        async with session:
            socket = AsyncWebSocket(session)
            reading = asyncio.create_task(socket._read())
            try:
                yield socket
            finally:
                reading.cancel()
                await asyncio.wait([reading])
    except ExceptionGroup as exc:  # from the session's own tasks
        raise HTTPXWSException from exc
