"""Reads a JSON array element by element, in bounded memory.

Only strings, brackets and commas are looked at to find where an element ends; then it is parsed by
itself. So an element that is not valid is one error, and reading can start after any element, which
an incremental JSON parser such as ijson can't do.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from service.ingest.reading import CHUNK, MAX_LINE, Position

if TYPE_CHECKING:
    import io
    from typing import BinaryIO

BLANK = b" \t\r\n"
# A string that the end of the buffer cuts has no closing quote in its group.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[][{},]', re.DOTALL)
OPENING, CLOSING = b"[{", b"]}"
TRUNCATED = "ends before its JSON array does: `]` is missing"
TRAILING = "goes on after its JSON array, and what follows is left out"


class InvalidArray(ValueError):
    """The file is no JSON array, or not only one; the message is the reason."""


def is_array(head: str) -> bool:
    """Whether a file that begins with `head` is a JSON array."""
    return head.removeprefix("\ufeff").lstrip().startswith("[")


def read_elements(stream: BinaryIO, after: Position) -> Iterator[tuple[Position, bytes | None]]:
    """Each element with the position after it; None for one that is too long.

    A position counts elements as lines. `after` must be one that an earlier call yielded for the
    same bytes. Raises `InvalidArray` at the end of a file that is not one whole array.
    """
    number = after.lines
    scanner = _Scanner(stream, after.offset)
    for element, end in scanner.elements():
        if element is None or element.strip(BLANK):
            number += 1
            yield Position(number, end), element
    scanner.check_end()


class _Scanner:
    """Finds the ends of elements. An element begins at `_begin` of the buffer.

    `_dropped` counts the bytes of the file before those in the buffer.
    """

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        self._stream = cast("io.BufferedReader", stream)
        self._buffer = b""
        self._begin = 0
        self._dropped = offset
        self._is_too_long = False
        if offset:
            stream.seek(offset)
        else:
            self._skip_opening()

    def elements(self) -> Iterator[tuple[bytes | None, int]]:
        """Each element, and the offset after it."""
        depth = scanned = 0
        while True:
            while token := TOKEN.search(self._buffer, scanned):
                mark = token[0]
                if token[1] is not None and token[1] != b'"':
                    break  # the string goes on in what is read next
                scanned = token.end()
                if mark in OPENING:
                    depth += 1
                elif depth and mark in CLOSING:
                    depth -= 1
                elif not depth and mark in b",]":
                    yield self._take(scanned - 1), self._dropped + scanned - 1
                    self._begin = scanned
                    if mark == b"]":
                        return
            scanned = token.start() if token else len(self._buffer)
            if len(self._buffer) - self._begin > MAX_LINE:
                scanned = self._forget(token)
            scanned -= self._begin
            self._read_more()

    def check_end(self) -> None:
        """Check that only blanks follow the array."""
        rest = self._buffer[self._begin :]
        while not rest.strip(BLANK):
            rest = self._stream.read1(CHUNK)
            if not rest:
                return
        raise InvalidArray(TRAILING)

    def _skip_opening(self) -> None:
        while more := self._stream.read1(CHUNK):
            self._buffer = (self._buffer + more).lstrip(BLANK)
            self._dropped += len(more)
            opening = self._buffer.removeprefix(codecs.BOM_UTF8).lstrip(BLANK)
            if opening:
                self._buffer = opening[1:]
                self._dropped -= len(self._buffer)
                return

    def _read_more(self) -> None:
        """Read about as much again as the element has until now."""
        more = self._stream.read1(max(CHUNK, len(self._buffer) - self._begin))
        if not more:
            raise InvalidArray(TRUNCATED)
        self._dropped += self._begin
        self._buffer, self._begin = self._buffer[self._begin :] + more, 0

    def _take(self, end: int) -> bytes | None:
        too_long, self._is_too_long = self._is_too_long or end - self._begin > MAX_LINE, False
        return None if too_long else self._buffer[self._begin : end]

    def _forget(self, string: re.Match[bytes] | None) -> int:
        """Forget the element, which is too long, but not that it ends within a string."""
        self._is_too_long = True
        rest = b"" if string is None else b'"' + string[1]  # and perhaps the half of an escape
        self._dropped += len(self._buffer) - len(rest)
        self._buffer, self._begin = rest, 0
        return 0
