"""A file in a multipart form, read chunk by chunk."""

from __future__ import annotations

import re
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
MAX_HEAD_BYTES = 65_536  # before the content of the file
MAX_PADDING = 64  # bytes after a boundary in its line
LINE_BREAK = re.compile(rb"[\r\n]")
MALFORMED = "The body is not a valid multipart form"
ONE_FILE = "The form must have exactly one file; send parameters in the URL"


class FormFile:
    """The only file of a form. Call `read_head` first, then iterate over the content."""

    def __init__(self, request: Request, body: AsyncIterator[bytes]) -> None:
        _, options = parse_options_header(request.headers.get("Content-Type", ""))
        boundary = options.get("boundary", "")
        if not boundary or not boundary.isascii():
            raise BadRequest(f"{MALFORMED}: its Content-Type has no boundary")
        self._decoder = MultipartDecoder(boundary.encode())
        self._boundary = f"--{boundary}".encode()
        self._unfinished_line = b""
        self._body = body

    async def read_head(self) -> File:
        """The name and the headers of the file."""
        size = 0
        while True:
            event = self._next_event()
            if isinstance(event, File):
                return event
            if isinstance(event, Field | Epilogue):
                raise InvalidRequest(ONE_FILE)
            if isinstance(event, NeedData):
                size += await self._feed()
                if size > MAX_HEAD_BYTES:
                    raise BadRequest(f"{MALFORMED}: its headers are larger than 64 KiB")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content of the file, and then read to the end of the form."""
        while True:
            event = self._next_event()
            if isinstance(event, Data):
                if event.data:
                    yield event.data
            elif isinstance(event, File | Field):
                raise InvalidRequest(ONE_FILE)
            elif isinstance(event, Epilogue):
                return
            elif isinstance(event, NeedData):
                await self._feed()

    def _next_event(self) -> Event:
        try:
            return self._decoder.next_event()
        except (ValueError, HTTPException) as exc:
            raise BadRequest(MALFORMED) from exc

    async def _feed(self) -> int:
        """Pass the next chunk to the decoder; returns its size.

        A chunk that ends after a boundary, but within its line, is passed with the next one:
        Werkzeug's decoder would take the line break before the boundary for content.
        """
        size = 0
        while True:
            chunk = await anext(self._body, None)
            self._decoder.receive_data(chunk)
            if chunk is None:
                return size
            size += len(chunk)
            if not self._ends_in_boundary_line(chunk):
                return size

    def _ends_in_boundary_line(self, chunk: bytes) -> bool:
        line = LINE_BREAK.split(self._unfinished_line + chunk)[-1]
        longest = len(self._boundary) + MAX_PADDING
        self._unfinished_line = line[: longest + 1]
        return line.startswith(self._boundary) and len(line) <= longest
