"""A file out of a form, piece by piece. Knows nothing of what is in the file."""

from __future__ import annotations

from collections.abc import AsyncIterator

from quart import Request
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
)

from service.errors import BadRequest, InvalidRequest

MEDIA_TYPE = "multipart/form-data"
HEAD_BYTES = 65_536  # before the file begins
BAD_FORM = "The body is not a form as its Content-Type says"
ONE_FILE = "Send one file in the form, and everything else as parameters in the URL"


class FormFile:
    """The one file of a form. `begin` tells what it is called; iterated over, it gives the rest."""

    def __init__(self, request: Request, body: AsyncIterator[bytes]) -> None:
        _, options = parse_options_header(request.headers.get("Content-Type", ""))
        boundary = options.get("boundary", "")
        if not boundary or not boundary.isascii():
            raise BadRequest(f"{BAD_FORM}: it has no boundary")
        self._decoder = MultipartDecoder(boundary.encode())
        self._body = body

    async def begin(self) -> File:
        """The head of the file."""
        heard = 0
        while True:
            event = self._event()
            if isinstance(event, File):
                return event
            if isinstance(event, Field | Epilogue):
                raise InvalidRequest(ONE_FILE)
            if isinstance(event, NeedData):
                heard += await self._hear()
                if heard > HEAD_BYTES:
                    raise BadRequest(BAD_FORM)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What is in it; then the end of the form is waited for."""
        while True:
            event = self._event()
            if isinstance(event, Data):
                if event.data:
                    yield event.data
            elif isinstance(event, File | Field):
                raise InvalidRequest(ONE_FILE)
            elif isinstance(event, Epilogue):
                return
            elif isinstance(event, NeedData):
                await self._hear()

    def _event(self) -> Event:
        try:
            return self._decoder.next_event()
        except (ValueError, HTTPException) as exc:
            raise BadRequest(BAD_FORM) from exc

    async def _hear(self) -> int:
        """Feed the decoder; how much that was."""
        piece = await anext(self._body, None)
        self._decoder.receive_data(piece)
        return len(piece or b"")
