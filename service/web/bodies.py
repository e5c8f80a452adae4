"""A request's body as bytes, of the media type and the size that an address takes.

Knows nothing of what is in a body.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from quart import Request
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.exceptions import RequestTimeout

from service.errors import BodyTimeout, UnsupportedMediaType
from service.web.http_connection import StreamedBody

NDJSON = "application/x-ndjson"


def request_class(limits: Mapping[str, int], streamed: Collection[str]) -> type[Request]:
    """Requests whose body may be of another size than the app's MAX_CONTENT_LENGTH, by path.

    Those that are streamed have no limit here: whoever takes them counts.
    """

    class Limited(Request):
        def __init__(self, *args: Any, max_content_length: int | None = None, **named: Any) -> None:
            path: str = args[2]
            limit = limits.get(path, max_content_length)
            super().__init__(*args, max_content_length=limit, **named)
            if path in streamed:
                self.body = StreamedBody(self.content_length, None)

        @property
        def blueprints(self) -> list[str]:
            """Asked for three times in each request. Ours are not nested."""
            return [self.blueprint] if self.blueprint else []

    return Limited


def raw_header(request: BaseRequestWebsocket, name: bytes) -> str:
    """What a request says under this name (in lower case); cheap where it says nothing."""
    values = [value for each, value in request.scope["headers"] if each == name]
    return b", ".join(values).decode("latin1")


def is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


async def read_body(request: Request, what: str, *, ndjson: bool = False) -> bytes:
    """The body, if it is JSON (or lines of it, where those are taken); `what` it should hold."""
    media_type = request.mimetype
    if not is_json(media_type) and not (ndjson and media_type == NDJSON):
        lines = f", or as NDJSON, with Content-Type: {NDJSON}" if ndjson else ""
        raise UnsupportedMediaType(
            f"Send {what} as JSON, with Content-Type: application/json{lines}"
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding")
    try:
        body = await request.get_data(cache=False)
    except RequestTimeout as exc:
        raise BodyTimeout("The body did not arrive in time") from exc
    return bytes(body)  # type: ignore[arg-type]  # as_text is False
