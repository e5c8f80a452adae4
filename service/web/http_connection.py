"""Quart's HTTP connection and request, with back-pressure and with responses that can abort.

Quart receives a whole request body as fast as the client sends it, read or not. On paths whose
bodies are streamed, the next message is received only while there is room in a small buffer. A
client that is faster than the disk is then slowed down by TCP flow control, and its body never
fills the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body

from service.web.asgi import Message, Receive

BUFFER_BYTES = 262_144


class ResponseAborted(Exception):
    """Raised in a streamed response that can't be completed; the cause is logged already.

    The status was sent long before, so the only sign of failure is a response without its end.
    The server then closes the connection without the last chunk, which every HTTP client reports
    as an error.
    """


class StreamedBody(Body):
    """A request body to iterate over. It can't be awaited: a full buffer would never be emptied."""

    def __init__(self, expected_bytes: int | None) -> None:
        super().__init__(expected_bytes, None)
        self._room = asyncio.Event()
        self._room.set()

    def append(self, data: bytes) -> None:
        super().append(data)
        if len(self._data) >= BUFFER_BYTES:
            self._room.clear()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._room.set()
        return data

    async def wait_for_room(self) -> None:
        await self._room.wait()


class HTTPConnection(ASGIHTTPConnection):
    async def __call__(self, receive: Any, send: Any) -> None:
        with contextlib.suppress(ResponseAborted):
            await super().__call__(receive, send)

    async def handle_messages(self, request: Request, receive: Any) -> None:
        body = request.body
        if isinstance(body, StreamedBody):
            receive = _receive_with_back_pressure(body, receive)
        await super().handle_messages(request, receive)


def _receive_with_back_pressure(body: StreamedBody, receive: Receive) -> Receive:
    async def receive_next() -> Message:
        await body.wait_for_room()
        return await receive()

    return receive_next


def request_class(max_bytes: Mapping[str, int], streamed: Collection[str]) -> type[Request]:
    """A request class with other body limits than `MAX_CONTENT_LENGTH`, by path.

    The bodies of the `streamed` paths have no limit here; their readers count.
    """

    class CascadeRequest(Request):
        def __init__(self, *args: Any, max_content_length: int | None = None, **named: Any) -> None:
            path: str = args[2]
            limit = max_bytes.get(path, max_content_length)
            super().__init__(*args, max_content_length=limit, **named)
            if path in streamed:
                self.body = StreamedBody(self.content_length)

        @property
        def blueprints(self) -> list[str]:
            """Quart reads this three times per request. Our blueprints are not nested."""
            return [self.blueprint] if self.blueprint else []

    return CascadeRequest
