"""Quart's HTTP connection and request, with back-pressure and with responses that can abort.

Quart receives a whole request body as fast as the client sends it, read or not. On paths whose
bodies are streamed, the next message is received only while there is room in a small buffer. A
client that is faster than the disk is then slowed down by TCP flow control, and its body never
fills the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.utils import cancel_tasks, raise_task_exceptions

from service.web.asgi import Receive
from service.web.request_body import RequestBody, StreamedBody


class ResponseAborted(Exception):
    """Raised in a streamed response that can't be completed; the cause is logged already.

    The status was sent long before, so the only sign of failure is a response without its end.
    The server then closes the connection without the last chunk, which every HTTP client reports
    as an error.
    """


class HTTPConnection(ASGIHTTPConnection):
    """Handles a request while its body arrives, and cancels it if the client disconnects."""

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)
        handler = self.handle_request(request, send)
        with contextlib.suppress(ResponseAborted):
            await run_until_first_ends(handler, _receive_body(request.body, receive))


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
