"""Bytes from files and pipes, and lines of bounded length. Knows nothing of what they mean.

Whoever waits for a pipe can be told to stop: a thread that sits in a read would keep the process
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_LINE = 2_000_000
CHUNK = 65_536
LISTEN_S = 0.1  # how long a stop may go unheard
GZIP = b"\x1f\x8b"


class Spot(NamedTuple):
    """Between two lines of a stream: after so many of them, which are so many bytes, unpacked."""

    lines: int = 0
    offset: int = 0


START = Spot()


class Stopped(Exception):
    """Reading was told to stop."""


class Meter:
    """How many bytes have been read, and whether to read on."""

    def __init__(self) -> None:
        self.read = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def check(self) -> None:
        if self._stopping.is_set():
            raise Stopped


class Source(io.RawIOBase):
    """An open file descriptor, read as it comes."""

    def __init__(self, descriptor: int, meter: Meter) -> None:
        self._descriptor = descriptor
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        self._meter.check()
        while not select.select([self._descriptor], [], [], LISTEN_S)[0]:
            self._meter.check()
        count = os.readv(self._descriptor, [buffer])
        self._meter.read += count
        return count

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Of files alone. What is passed over counts as read."""
        before = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        after = os.lseek(self._descriptor, offset, whence)
        self._meter.read += after - before
        return after


class Unpacked(gzip.GzipFile):
    """What was packed, line by line. A few bytes can hold so many that a stop between two reads of
    the file comes too late.
    """

    def __init__(self, stream: BinaryIO, meter: Meter) -> None:
        super().__init__(fileobj=stream)
        self._meter = meter

    def readline(self, size: int | None = -1) -> bytes:
        self._meter.check()
        return super().readline(size)


@contextlib.contextmanager
def opened(path: Path | None, meter: Meter) -> Iterator[BinaryIO]:
    """The bytes of a file, or of stdin if there is no path, unpacked if they are gzip."""
    if path is None:
        descriptor = sys.stdin.fileno()
        keep = True
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO is not waited for here
        keep = False
    try:
        stream = io.BufferedReader(Source(descriptor, meter), CHUNK)
        packed = stream.peek(2)[:2] == GZIP or (path is not None and path.suffix == ".gz")
        yield cast("BinaryIO", Unpacked(stream, meter)) if packed else stream
    finally:
        if not keep:
            os.close(descriptor)


def lines(stream: BinaryIO, after: Spot = START) -> Iterator[tuple[Spot, bytes | None]]:
    """Each line with the spot after it; None stands for one that is too long, which is not kept.

    A later spot to begin at is one that was given before, of the same bytes.
    """
    number, offset = after
    if offset:
        stream.seek(offset)
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        offset += len(raw)
        if len(raw) <= MAX_LINE or raw.endswith(b"\n"):
            spot = Spot(number, offset)
            yield spot, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            continue
        while rest := stream.readline(CHUNK):
            offset += len(rest)
            if rest.endswith(b"\n"):
                break
        yield Spot(number, offset), None


TOO_LONG = f"is longer than {MAX_LINE:,} bytes"
NOT_UTF8 = "is not valid UTF-8"
