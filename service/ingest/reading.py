"""Reads files and pipes, as lines of bounded length.

A read can be stopped from another thread: a thread that blocks on a pipe would keep the process
from ending.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import select
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_LINE = 2_000_000
CHUNK = 65_536
HEAD = 1_048_576  # in which the encoding and the delimiter are found
UNREADABLE = (OSError, EOFError, zlib.error)
POLL_S = 0.1  # the longest time until a stop takes effect
GZIP = b"\x1f\x8b"


class Position(NamedTuple):
    """A position in a file: the lines and uncompressed bytes before it.

    If the next line has several items, or the file has no lines, `items` counts those before it.
    """

    lines: int = 0
    offset: int = 0
    items: int = 0

    @property
    def line_start(self) -> Position:
        return Position(self.lines, self.offset)


START = Position()


class ReadStopped(Exception):
    """Reading was stopped."""


class ReadMeter:
    """Counts the bytes that were read, and stops reading."""

    def __init__(self) -> None:
        self.read = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def check(self) -> None:
        if self._stopping.is_set():
            raise ReadStopped


class InterruptibleFile(io.RawIOBase):
    """A file descriptor whose reads can be stopped.

    The first read of a pipe ends with a line, if possible: its format is found in it.
    """

    def __init__(self, descriptor: int, meter: ReadMeter) -> None:
        self._descriptor = descriptor
        self._meter = meter
        self._has_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        count = self._read(target)
        while not self._has_read and 0 < count < len(target) and b"\n" not in bytes(target[:count]):
            more = self._read(target[count:])
            count += more
            self._has_read = not more
        self._has_read = True
        return count

    def _read(self, buffer: memoryview) -> int:
        self._meter.check()
        while not select.select([self._descriptor], [], [], POLL_S)[0]:
            self._meter.check()
        count = os.readv(self._descriptor, [buffer])
        self._meter.read += count
        return count

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Files only. The bytes that are skipped count as read."""
        before = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        after = os.lseek(self._descriptor, offset, whence)
        self._meter.read += after - before
        return after


class InterruptibleGzip(gzip.GzipFile):
    """A gzip file that can be stopped at each line: a few bytes of the file may hold many lines."""

    def __init__(self, stream: BinaryIO, meter: ReadMeter) -> None:
        super().__init__(fileobj=stream)
        self._meter = meter

    def readline(self, size: int | None = -1) -> bytes:
        self._meter.check()
        return super().readline(size)

    def read1(self, size: int = -1) -> bytes:
        self._meter.check()
        return super().read1(size)


@contextlib.contextmanager
def open_input(path: Path | None, meter: ReadMeter) -> Iterator[BinaryIO]:
    """Open a file, or stdin if `path` is None. Gzip is decompressed."""
    if path is None:
        descriptor = sys.stdin.fileno()
        keep = True
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO must not block
        keep = False
    try:
        stream = io.BufferedReader(InterruptibleFile(descriptor, meter), CHUNK)
        packed = stream.peek(2)[:2] == GZIP or (path is not None and path.suffix == ".gz")
        yield cast("BinaryIO", InterruptibleGzip(stream, meter)) if packed else stream
    finally:
        if not keep:
            os.close(descriptor)


def read_head(stream: BinaryIO, path: Path | None) -> bytes:
    """The first bytes of an input. A file is opened again; of a pipe it is what has arrived."""
    if path is None or not path.is_file():
        return cast("io.BufferedReader", stream).peek(HEAD)[:HEAD]
    head = bytearray()
    with contextlib.suppress(*UNREADABLE), open_input(path, ReadMeter()) as again:
        while len(head) < HEAD and (more := cast("io.BufferedReader", again).read1(CHUNK)):
            head += more
    return bytes(head[:HEAD])


def read_lines(
    stream: BinaryIO, after: Position = START
) -> Iterator[tuple[Position, bytes | None]]:
    """Each line with the position after it; None for a line that is too long.

    `after` must be a position that an earlier call yielded for the same bytes.
    """
    number, offset, _ = after
    if offset:
        stream.seek(offset)
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        offset += len(raw)
        if len(raw) <= MAX_LINE or raw.endswith(b"\n"):
            position = Position(number, offset)
            yield position, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            continue
        while rest := stream.readline(CHUNK):
            offset += len(rest)
            if rest.endswith(b"\n"):
                break
        yield Position(number, offset), None


TOO_LONG = f"is longer than {MAX_LINE:,} bytes"
