"""Bodies that are taken piece by piece, no faster than somebody works them off.

Quart hears a whole body as quickly as it comes, whether anybody reads it or not. For the paths that
are streamed, the next piece is asked for only when there is room, so a client that is faster than
the disk is held up by TCP, and never by our memory. Knows nothing of what is in a body.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body

from service.errors import BodyTimeout

ROOM = 262_144  # bytes that may wait to be worked off
MIN_BYTES_PER_S = 1_000  # bytes a second: fewer than any line carries over which one would upload
HEAR_OUT_S = 2.0
QUIET_S = 0.2  # after which nobody is in the middle of sending


class StreamedBody(Body):
    """Has to be iterated over: as a whole it would never come."""

    def __init__(self, expected: int | None, most: int | None) -> None:
        super().__init__(expected, most)
        self._room = asyncio.Event()
        self._room.set()

    def append(self, data: bytes) -> None:
        super().append(data)
        if len(self._data) >= ROOM:
            self._room.clear()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._room.set()
        return data

    async def has_room(self) -> None:
        await self._room.wait()


class HTTPConnection(ASGIHTTPConnection):
    """Hears a paced body at its pace, and any other as Quart does."""

    async def handle_messages(self, request: Request, receive: Any) -> None:
        body = request.body
        if not isinstance(body, StreamedBody):
            await super().handle_messages(request, receive)
            return

        async def receive_at_its_pace() -> Any:
            await body.has_room()
            return await receive()

        await super().handle_messages(request, receive_at_its_pace)


async def read_chunks(request: Request, patience_s: float) -> AsyncIterator[bytes]:
    """The body as it comes; `BodyTimeout` if nothing comes for so long, or too little.

    Only waiting for the client uses up patience, and never what is done with a piece. Each byte
    gives some of it back, so who keeps to the least pace may go on for ever.
    """
    body, left, now = aiter(request.body), patience_s, asyncio.get_running_loop().time
    while True:
        asked_at = now()
        try:
            async with asyncio.timeout(left):
                piece = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyTimeout(
                f"The body came too slowly: less than {MIN_BYTES_PER_S} bytes a second "
                f"for {patience_s:g} s or more"
            ) from None
        left = min(patience_s, left - (now() - asked_at) + len(piece) / MIN_BYTES_PER_S)
        yield piece


async def drain_body(request: Request) -> None:
    """Take what still comes, for a moment: who is interrupted while sending may miss the answer."""
    with contextlib.suppress(BodyTimeout, TimeoutError):
        async with asyncio.timeout(HEAR_OUT_S):
            async for _ in read_chunks(request, QUIET_S):
                pass
