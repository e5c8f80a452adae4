"""Response bodies: JSON, and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from pydantic import BaseModel, Field
from quart import Response, request

from service.errors import UpstreamGarbled
from service.indexes.records import WriteCounts

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
HEARTBEAT = b": heartbeat\n\n"
HEARTBEAT_S = 15.0  # proxies close connections that are silent for 30 to 60 s


class NoMoreEvents(BaseModel):
    """`Last-Event-ID` is the id of `done`, after which there are no events."""


class WrittenRecords(BaseModel):
    """How many records were written. The other counts are null with Pinecone, which has none."""

    written: int = Field(description="The number of records that every index has written.")
    created: int | None = Field(description="Of these, those with a new id. Null with Pinecone.")
    replaced: int | None = Field(
        description="Of these, those that replaced another record. Null with Pinecone."
    )
    unchanged: int | None = Field(
        description="Of these, those that were there already, all alike. Null with Pinecone."
    )


def written_records(written: int, counts: WriteCounts) -> dict[str, int | None]:
    """The members of `WrittenRecords`."""
    return {"written": written, **counts.reported(written)}


def json_response(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")


def encode_records(body: Any) -> bytes:
    """Encode a body with records as JSON; raises `UpstreamGarbled` if a record does not allow it.

    orjson rejects integers of more than 64 bits and values that are nested too deeply.
    """
    try:
        return orjson.dumps(body)
    except TypeError as exc:
        raise UpstreamGarbled("A record cannot be represented as JSON") from exc


def encode_event(name: str, data: bytes, id: int | str | None = None) -> bytes:
    """Encode a server-sent event; `data` is JSON in one line."""
    head = b"" if id is None else f"id: {id}\n".encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data)


def event_response(events: AsyncIterator[bytes]) -> Response:
    """A stream of events. `events` must end by itself: the response has no timeout.

    A HEAD request gets the headers at once. The server closes the connection of a client that does
    not read.
    """
    response = Response(
        _empty() if request.method == "HEAD" else events,
        content_type=f"{EVENT_STREAM}; charset=utf-8",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx: do not buffer
    )
    response.timeout = None
    return response


async def _empty() -> AsyncIterator[bytes]:
    return
    yield b""
