"""Searching while somebody types, over a WebSocket, awaited. `sync_typing.py` is its twin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Unpack

from httpx_ws import AsyncWebSocketSession

from service.client import requests
from service.client.async_wire import AsyncWire
from service.client.errors import ConnectionFailed, SearchClientError, TimedOut
from service.client.keystrokes import Keystrokes
from service.client.models import Mode, SearchEvent
from service.client.requests import SearchOptions
from service.client.seam import Seam


class AsyncTyping:
    """One connection. To iterate is to hear of the newest search, until it is done.

    What comes is read all the time, so that a slow reader keeps nobody waiting, pings least of all.
    """

    def __init__(self, session: AsyncWebSocketSession, seam: Seam, timeout: float) -> None:
        self._session = session
        self._seam = seam
        self._timeout = timeout
        self._keystrokes = Keystrokes(seam.error)
        self._news = asyncio.Event()
        self._broken: SearchClientError | None = None

    async def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> None:
        """Search for this, and no more for what was searched for before."""
        if self._broken is not None:
            raise self._broken
        await self._send(self._keystrokes.search(text, mode, options))

    async def cancel(self) -> None:
        """Search for nothing; the connection stays."""
        for message in self._keystrokes.cancel():
            await self._send(message)

    async def __aiter__(self) -> AsyncIterator[SearchEvent]:
        while True:
            self._news.clear()
            if (event := self._keystrokes.take()) is not None:
                yield event
            elif not self._keystrokes.under_way:
                return
            elif self._broken is not None:
                raise self._broken
            else:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._news.wait()
                except TimeoutError:
                    raise TimedOut(f"Nothing was heard for {self._timeout:g} s") from None

    async def _read(self) -> None:
        """Hear what comes, until the connection breaks."""
        try:
            while True:
                with self._seam.mapped():
                    message = await self._session.receive_text()
                self._keystrokes.heard(message)
                self._news.set()
        except SearchClientError as error:
            self._broken = error
        finally:
            self._news.set()

    async def _send(self, message: str) -> None:
        with self._seam.mapped():
            await self._session.send_text(message)


@contextlib.asynccontextmanager
async def typing_session(wire: AsyncWire) -> AsyncIterator[AsyncTyping]:
    """A connection, closed at the end of the block."""
    error = None
    async with wire.opened(requests.typing()) as response:
        session = AsyncWebSocketSession(response.extensions["network_stream"], response=response)
        typing = AsyncTyping(session, wire.seam, wire.timeout)
        try:
            async with session:
                reading = asyncio.create_task(typing._read())
                try:
                    yield typing
                except Exception as exc:  # not the wire's: it is raised as it is, outside of it
                    error = exc
                finally:
                    typing._keystrokes.end()
                    reading.cancel()
                    await asyncio.wait([reading])
        except ExceptionGroup as exc:  # what the socket's own tasks met
            raise ConnectionFailed(f"The connection to {wire.seam.url} broke") from exc
    if error is not None:
        raise error
