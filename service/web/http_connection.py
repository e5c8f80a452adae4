"""Quart's HTTP connection, request and body, with back-pressure and responses that can abort.

Quart receives a whole request body as fast as the client sends it, read or not. On paths whose
bodies are streamed, the next message is received only while there is room in a small buffer. A
client that is faster than the disk is then slowed down by TCP flow control, and its body never
fills the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Generator, Mapping
from typing import Any

import orjson
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.utils import cancel_tasks, raise_task_exceptions
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

from service.errors import RequestError
from service.web.asgi import Receive, encode_headers, header_value
from service.web.errors import error_body
from service.web.request_context import choose_request_id

BUFFER_BYTES = 262_144
ENDED_BY = "cascade.ended_by"  # in the ASGI scope: the error for which a request was ended


class ResponseAborted(Exception):
    """Raised in a streamed response that can't be completed; the cause is logged already.

    The status was sent long before, so the only sign of failure is a response without its end.
    The server then closes the connection without the last chunk, which every HTTP client reports
    as an error.
    """


class HTTPConnection(ASGIHTTPConnection):
    """Handles a request while its body arrives, and cancels it if the client disconnects.

    A request that was cancelled with an error in its scope gets that as its response. If the
    response has begun, it is left without its end.
    """

    _has_responded = False

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)
        handler = self.handle_request(request, send)
        with contextlib.suppress(ResponseAborted):
            await run_until_first_ends(handler, _receive_body(request.body, receive))

    async def handle_request(self, request: Any, send: Any) -> None:
        try:
            await super().handle_request(request, send)
        except asyncio.CancelledError:
            error = request.scope.get(ENDED_BY)
            if error is None or self._has_responded:
                raise
            await _respond(error, header_value(request.scope, b"x-request-id"), send)

    async def _send_response(self, send: Any, response: Any) -> None:
        self._has_responded = True
        await super()._send_response(send, response)


def end_request(request: Any, task: asyncio.Task[Any], error: RequestError) -> None:
    """Cancel the task of a request, and answer it with the error."""
    request.scope[ENDED_BY] = error
    task.cancel()


async def _respond(error: RequestError, sent_request_id: str, send: Any) -> None:
    body = orjson.dumps(error_body(error, choose_request_id(sent_request_id)))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    start = {"type": "http.response.start", "status": error.status}
    await send(start | {"headers": encode_headers(headers.items())})
    await send({"type": "http.response.body", "body": body})


async def run_until_first_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one of them ends, then cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await cancel_tasks(pending)
    raise_task_exceptions(done)


async def _receive_body(body: Any, receive: Receive) -> None:
    """Return when the client has disconnected."""
    while True:
        if isinstance(body, StreamedBody):
            await body.wait_for_room()
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body.append(message.get("body", b""))
        if not message.get("more_body", False):
            body.set_complete()


class RequestBody(Body):
    """A body to await as a whole, or to iterate over.

    It replaces Quart's body, which differs between releases: 0.23 checks the limit only when the
    whole body has arrived. The arguments have Quart's names.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self._max_bytes = max_content_length
        self._buffer = bytearray()
        self._is_complete = False
        self._changed = asyncio.Event()
        self._is_too_large = self._exceeds_limit(expected_content_length or 0)

    def append(self, data: bytes) -> None:
        if self._is_too_large or not data:
            return
        self._buffer += data
        if self._exceeds_limit(len(self._buffer)):
            self._is_too_large = True
            self._buffer.clear()
        self._changed.set()

    def set_complete(self) -> None:
        self._is_complete = True
        self._changed.set()

    def set_result(self, data: bytes) -> None:
        self.append(data)
        self.set_complete()

    def clear(self) -> None:
        self._buffer.clear()

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._read().__await__()

    async def _read(self) -> bytes:
        while not self._is_complete and not self._is_too_large:
            await self._wait_for_change()
        self._check_limit()
        return bytes(self._buffer)

    async def __anext__(self) -> bytes:
        while not self._buffer and not self._is_complete and not self._is_too_large:
            await self._wait_for_change()
        self._check_limit()
        if not self._buffer:
            raise StopAsyncIteration
        chunk = bytes(self._buffer)
        self._buffer.clear()
        return chunk

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _exceeds_limit(self, size: int) -> bool:
        return self._max_bytes is not None and size > self._max_bytes

    def _check_limit(self) -> None:
        if self._is_too_large:
            raise RequestEntityTooLarge


class StreamedBody(RequestBody):
    """A body of any size to iterate over. It can't be awaited: nothing would empty its buffer."""

    def __init__(self, expected_bytes: int | None) -> None:
        super().__init__(expected_bytes, None)
        self._room = asyncio.Event()
        self._room.set()

    def append(self, data: bytes) -> None:
        super().append(data)
        if len(self._buffer) >= BUFFER_BYTES:
            self._room.clear()

    async def __anext__(self) -> bytes:
        chunk = await super().__anext__()
        self._room.set()
        return chunk

    async def wait_for_room(self) -> None:
        await self._room.wait()


def request_class(max_bytes: Mapping[str, int], streamed: Collection[str]) -> type[Request]:
    """A request class with other body limits than `MAX_CONTENT_LENGTH`, by path.

    The bodies of the `streamed` paths have no limit here; their readers count.
    """

    class CascadeRequest(Request):
        body_class = RequestBody

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
