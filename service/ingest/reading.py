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
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_LINE = 2_000_000
CHUNK = 65_536
LISTEN_S = 0.1  # how long a stop may go unheard
GZIP = b"\x1f\x8b"


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
        yield cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if packed else stream
    finally:
        if not keep:
            os.close(descriptor)


def lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None stands for one that is too long, which is not kept in memory."""
    number = 0
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        if len(raw) <= MAX_LINE or raw.endswith(b"\n"):
            yield number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            continue
        while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
            pass
        yield number, None


TOO_LONG = f"is longer than {MAX_LINE:,} bytes"
NOT_UTF8 = "is not valid UTF-8"
