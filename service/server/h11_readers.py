"""h11's connection of a server, with readers of our own for request heads and chunked bodies.

- Empty lines before a request line are skipped (RFC 9112, 2.2).
- A chunk extension has no control characters (RFC 9112, 7.1.1).
- The chunks that have arrived are one event. An event for each costs 30 microseconds, so a body of
  one-byte chunks would keep the process busy for much longer than it takes to send it.
- The size lines may not be much longer than the data, as in Go's net/http: otherwise a body within
  its size limit could go on for gigabytes.

The readers are not part of h11's documented interface; its version is pinned, and a test covers
each of them.
"""

from __future__ import annotations

import re
from typing import Any

import h11
from h11._readers import READERS, ChunkedReader, maybe_read_from_IDLE_client
from h11._receivebuffer import ReceiveBuffer

MAX_SIZE_LINE_BYTES = 4_096
OVERHEAD_PER_CHUNK, OVERHEAD_PER_BYTE = 16, 2  # of the size lines, in bytes; always accepted
MAX_EXCESS_BYTES = 16_384  # of the size lines, beyond that

_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")
_CRLF = b"\r\n"


class H11Connection(h11.Connection):
    """The server's side of an HTTP/1.1 connection."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)

    def _get_io_object(self, role: Any, event: Any, io_dict: Any) -> Any:
        if io_dict is READERS:
            io_dict = _READERS
        return h11.Connection._get_io_object(self, role, event, io_dict)


def read_head(buffer: ReceiveBuffer) -> h11.Request | None:
    """Read a request line and headers, if they have arrived."""
    if buffer._data.startswith(b"\r"):
        received = bytes(buffer)
        if match := _EMPTY_LINES.match(received):
            buffer.maybe_extract_at_most(match.end())
        if received.endswith(b"\r") and len(buffer) == 1:
            return None
    return maybe_read_from_IDLE_client(buffer)


class ChunkedBody(ChunkedReader):
    """Reads a chunked body. The trailer section is left to h11."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 0  # of the data of a chunk
        self._is_at_end = False  # of the data of a chunk: CRLF follows
        self._excess = 0

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        data = b"" if self._reading_trailer else self._read_chunks(buffer)
        if data:
            return h11.Data(data=data)
        return super().__call__(buffer) if self._reading_trailer else None

    def _read_chunks(self, buffer: ReceiveBuffer) -> bytes:
        """Return the data of all chunks that have arrived, as far as they have."""
        received, position, pieces = bytes(buffer), 0, []
        while position < len(received):
            if self._left:
                piece = received[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._is_at_end = not self._left
            elif self._is_at_end:
                if not received.startswith(_CRLF, position):
                    if received[position:] == b"\r":
                        break
                    raise h11.LocalProtocolError("a chunk is longer than its size")
                position += len(_CRLF)
                self._is_at_end = False
            else:
                match = _SIZE_LINE.match(received, position)
                if match is None:
                    self._check_incomplete_line(received[position:])
                    break
                position = match.end()
                self._begin_chunk(int(match[1], 16), len(match[0]))
                if self._reading_trailer:
                    break
        buffer.maybe_extract_at_most(position)
        return b"".join(pieces)

    def _begin_chunk(self, size: int, line_bytes: int) -> None:
        overhead = line_bytes + len(_CRLF) - OVERHEAD_PER_CHUNK - OVERHEAD_PER_BYTE * size
        self._excess = max(0, self._excess + overhead)
        if self._excess > MAX_EXCESS_BYTES:
            raise h11.LocalProtocolError("the chunk extensions are longer than the body")
        self._left = size
        self._reading_trailer = not size

    def _check_incomplete_line(self, line: bytes) -> None:
        if b"\n" in line or len(line) > MAX_SIZE_LINE_BYTES:
            raise h11.LocalProtocolError("the size line of a chunk is not valid")


_READERS = {
    **READERS,
    (h11.CLIENT, h11.IDLE): read_head,
    h11.SEND_BODY: {**READERS[h11.SEND_BODY], "chunked": ChunkedBody},  # type: ignore[dict-item]
}
