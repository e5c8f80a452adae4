"""The progress of a load: a line that is redrawn on a terminal, or a line every 10 s elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TextIO

REDRAW_S = 0.1
LINE_INTERVAL_S = 10.0
BAR = 20
MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of a load. `read` and `total` are bytes; `total` is None if unknown."""

    written: int
    failed: int
    retries: int
    read: int
    total: int | None
    seconds: float


def line(now: Snapshot) -> str:
    """The numbers as one line."""
    parts = [f"{now.written:,} records", f"{rate(now.written, now.seconds):,.0f}/s"]
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.retries:
        parts.append(f"{now.retries:,} retries")
    if not now.total:
        return "  ".join(parts)
    part = min(now.read / now.total, 1.0)
    full = int(part * BAR)
    if now.written and 0 < part < 1:
        parts.append(f"{clock(now.seconds / part - now.seconds)} left")
    return "  ".join([f"[{'#' * full}{'-' * (BAR - full)}] {part:4.0%}", *parts])


def rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def clock(seconds: float) -> str:
    """As 0:07 or 1:02:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class Progress:
    """Prints the progress of a load, and the first of its faults, on a stream.

    `hint` says where the other faults are.
    """

    def __init__(
        self, stream: TextIO, look: Callable[[], Snapshot], columns: int = 80, hint: str = ""
    ) -> None:
        self._stream = stream
        self._look = look
        self._columns = columns
        self._hint = hint
        self._drawn = False
        self._faults = 0
        self.live = stream.isatty()

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Print the progress until the block ends."""
        showing = asyncio.create_task(self._print_progress())
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            self._clear_line()
            if self._faults > MAX_SHOWN:
                self._print(f"and {self._faults - MAX_SHOWN:,} more{self._hint}")

    def fault(self, sentence: str) -> None:
        """Print a fault, unless many were printed before."""
        self._faults += 1
        if self._faults <= MAX_SHOWN:
            self._clear_line()
            self._print(sentence)

    async def _print_progress(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S if self.live else LINE_INTERVAL_S)
            if self.live:
                self._clear_line()
                self._write(line(self._look())[: self._columns - 1])
                self._drawn = True
            else:
                self._print(line(self._look()))

    def _clear_line(self) -> None:
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _print(self, sentence: str) -> None:
        self._write(f"{sentence}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone; the load continues
            self._stream.write(text)
            self._stream.flush()


def stopwatch() -> Callable[[], float]:
    """Returns a function that returns the seconds since now."""
    started = time.monotonic()
    return lambda: time.monotonic() - started
