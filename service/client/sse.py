"""Parser for server-sent events, as the HTML standard defines them. It does no I/O.

A line ends with CR, LF or CRLF. An empty line ends an event; an event that the end of the stream
cuts off is dropped. docs/decisions/0017 says why this is not httpx-sse.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from service.client.errors import GarbledAnswer

MAX_EVENT_BYTES = 64 * 1024 * 1024
LINE_END = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event. `id` is the last event id, which an earlier event may have set."""

    name: str
    data: str
    id: str


class EventParser:
    """Takes bytes in chunks of any size, and returns the events that they complete."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._unfinished_line = bytearray()
        self._after_cr = False
        self._is_first_line = True
        self._name = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._id = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        if self._after_cr and data:  # the CR ended its line; an LF belongs to the same line end
            data = data.removeprefix(b"\n")
            self._after_cr = False
        events = []
        begin = 0
        for end in LINE_END.finditer(data):
            self._unfinished_line += data[begin : end.start()]
            begin = end.end()
            line, self._unfinished_line = bytes(self._unfinished_line), bytearray()
            if event := self._parse_line(line):
                events.append(event)
        self._after_cr = begin == len(data) and data.endswith(b"\r")
        self._unfinished_line += data[begin:]
        self._check_size(len(self._unfinished_line))
        return events

    def _parse_line(self, line: bytes) -> ServerSentEvent | None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(BOM)
        if not line:
            return self._end_event()
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
            self._data_bytes += len(line)
            self._check_size(0)
        elif field == "id" and "\0" not in value:
            self._id = value
        return None  # comments, `retry` and unknown fields

    def _end_event(self) -> ServerSentEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._data_bytes = "", [], 0
        return ServerSentEvent(name, "\n".join(data), self._id) if data else None

    def _check_size(self, unfinished: int) -> None:
        if self._data_bytes + unfinished > self._max_bytes:
            raise GarbledAnswer(f"The service sent an event of more than {self._max_bytes:,} bytes")
