"""Server-sent events: how one is written, and the response that they leave in.

Knows nothing of what they tell. A stream's time is bounded by whoever makes the events; a client
that does not read is let go by the server (http1.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from quart import Response, request

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": still here\n\n"
HEARTBEAT_S = 15.0  # proxies give up on what is silent for 30 to 60 s


def event(name: str, data: bytes, id: int | None = None) -> bytes:
    """One event; `data` is JSON, which has no line breaks in it."""
    head = b"" if id is None else b"id: %d\n" % id
    return b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data)


def event_response(events: AsyncIterator[bytes]) -> Response:
    """The response to somebody who listens. Who asks by HEAD does not: nothing is waited for."""
    response = Response(
        _none() if request.method == "HEAD" else events,
        content_type=f"{MEDIA_TYPE}; charset=utf-8",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx passes it on
    )
    response.timeout = None  # there is no telling how long it takes
    return response


async def _none() -> AsyncIterator[bytes]:
    return
    yield b""
