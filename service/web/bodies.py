"""Request bodies: read as a whole, or chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from quart import Request
from werkzeug.exceptions import RequestTimeout

from service.errors import BodyTimeout, UnsupportedMediaType

NDJSON = "application/x-ndjson"
MIN_BYTES_PER_S = 1_000  # below what any usable connection delivers
DRAIN_TIMEOUT_S = 2.0
DRAIN_IDLE_S = 0.2  # after this silence the client is not in the middle of sending


def is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


async def read_body(request: Request, content: str, *, allow_ndjson: bool = False) -> bytes:
    """Read a JSON body, or NDJSON if allowed. `content` names what belongs in it, for errors."""
    media_type = request.mimetype
    if not is_json(media_type) and not (allow_ndjson and media_type == NDJSON):
        alternative = f", or as NDJSON, with Content-Type: {NDJSON}" if allow_ndjson else ""
        raise UnsupportedMediaType(
            f"Send {content} as JSON, with Content-Type: application/json{alternative}"
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType(
            "This endpoint does not accept compressed bodies; send the body without a "
            "Content-Encoding"
        )
    try:
        body = await request.get_data(cache=False)
    except RequestTimeout as exc:
        raise BodyTimeout("The request body did not arrive in time; send it again") from exc
    return bytes(body)  # type: ignore[arg-type]  # as_text is False


async def read_chunks(request: Request, patience_s: float) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; raises `BodyTimeout` if the client is too slow.

    This is a token bucket in seconds: waiting for the client drains it, and each byte refills it.
    The time that the caller takes for a chunk does not count, so a client that sends at least
    `MIN_BYTES_PER_S` may go on for hours.
    """
    body, now = aiter(request.body), asyncio.get_running_loop().time
    left_s = patience_s
    while True:
        waiting_since = now()
        try:
            async with asyncio.timeout(left_s):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyTimeout(
                f"The request body arrived too slowly: less than {MIN_BYTES_PER_S} bytes per "
                f"second for {patience_s:g} s or more"
            ) from None
        refill_s = len(chunk) / MIN_BYTES_PER_S
        left_s = min(patience_s, left_s - (now() - waiting_since) + refill_s)
        yield chunk


async def drain_body(request: Request) -> None:
    """Discard what the client still sends, for a short time.

    A client whose connection is closed while it is sending may never read the response.
    """
    with contextlib.suppress(BodyTimeout, TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for _ in read_chunks(request, DRAIN_IDLE_S):
                pass
