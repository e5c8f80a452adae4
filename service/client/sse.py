"""Server-sent events, from bytes as they happen to arrive. Knows no HTTP and no JSON.

After the HTML standard: lines end with CR, LF or both; an event ends with an empty line, and one
that the end of the stream cuts off is no event. Comments keep a connection alive, and are nothing
else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from service.client.errors import GarbledAnswer

MAX_BYTES = 64 * 1024 * 1024  # of one event
LINE_END = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event; `id` is the last that was told, by this event or one before."""

    name: str
    data: str
    id: str


class Parser:
    """Takes bytes, gives the events that they complete."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()  # a line that has not ended
        self._after_cr = False
        self._first_line = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""
        self._last_id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that end in `data`."""
        if self._after_cr and data:  # the CR has ended its line; this LF is the rest of its end
            data = data.removeprefix(b"\n")
            self._after_cr = False
        events = []
        begin = 0
        for end in LINE_END.finditer(data):
            self._rest += data[begin : end.start()]
            begin = end.end()
            line, self._rest = bytes(self._rest), bytearray()
            if event := self._line(line):
                events.append(event)
        self._after_cr = begin == len(data) and data.endswith(b"\r")
        self._rest += data[begin:]
        self._check_size(len(self._rest))
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(BOM)
        if not line:
            return self._end_of_event()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
            self._size += len(line)
            self._check_size(0)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None  # anything else, a comment with it, is for nobody here

    def _end_of_event(self) -> ServerEvent | None:
        self._last_id = self._id
        name, data = self._name or "message", self._data
        self._name, self._data, self._size = "", [], 0
        return ServerEvent(name, "\n".join(data), self._last_id) if data else None

    def _check_size(self, unfinished: int) -> None:
        if self._size + unfinished > self._max_bytes:
            raise GarbledAnswer(f"An event of the answer has more than {self._max_bytes:,} bytes")
