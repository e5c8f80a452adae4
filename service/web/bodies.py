"""Request bodies: read as a whole, parsed into records, or read chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import from_json
from quart import Request
from werkzeug.exceptions import RequestTimeout

from service.errors import (
    BadRequest,
    BodyTimeout,
    InvalidField,
    InvalidRequest,
    UnsupportedMediaType,
)
from service.web.responses import NDJSON
from service.web.validation import uncapitalize

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


def parse_records(body: bytes, *, ndjson: bool, max_records: int) -> list[Any]:
    """Parse JSON objects, which are not validated yet; rejects a malformed body as a whole."""
    records = _parse_ndjson(body) if ndjson else _parse_json(body)
    if len(records) > max_records:
        raise InvalidRequest(
            f"The request has {len(records)} records; send at most {max_records} at once, or use "
            "/api/imports"
        )
    return records


def _parse_json(body: bytes) -> list[Any]:
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadRequest(f"The body is not valid JSON: {uncapitalize(str(exc))}") from None
    if isinstance(content, dict):
        return [content]
    if not isinstance(content, list):
        raise BadRequest("The body must be a JSON object or an array of JSON objects")
    return content


def _parse_ndjson(body: bytes) -> list[Any]:
    lines = body.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return [_parse_line(number, line) for number, line in enumerate(lines, 1)]


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError as exc:
        msg = "is empty" if not line.strip() else f"is not valid JSON: {uncapitalize(str(exc))}"
        raise BadRequest(
            f"Line {number} {msg}; no record was written",
            invalid_fields=[InvalidField((number,), msg)],
        ) from None
