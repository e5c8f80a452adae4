"""The types of ASGI, the headers of a scope, and its body.

An ASGI scope and its messages are plain dictionaries, so the types say no more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = Any
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

DRAIN_TIMEOUT_S = 0.1
MAX_DRAINED_BYTES = 65_536


def header_value(scope: Scope, name: bytes) -> str:
    """Return the value of a header, or "" without it. `name` is in lower case.

    Several headers of this name are joined with commas (RFC 9110, section 5.3). Reading the scope
    is much cheaper than Werkzeug's `Headers` where a header is rarely sent.
    """
    values = [value for each, value in scope["headers"] if each == name]
    return b", ".join(values).decode("latin1")


def encode_headers(headers: Iterable[tuple[str, str]]) -> RawHeaders:
    return [(name.lower().encode(), value.encode()) for name, value in headers]


def route_path(scope: Scope) -> str:
    """The path inside this app, wherever the app is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def drain_body(receive: Receive) -> None:
    """Discard what the client still sends, so that it can read the response."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while size < MAX_DRAINED_BYTES and (message := await receive()).get("more_body", False):
                size += len(message["body"])
