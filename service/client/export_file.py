"""Reads an export to its end, or raises `IncompleteExport`. It never leaves half a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import IO

from service.client.errors import ConnectionFailed, GarbledAnswer, IncompleteExport, TimedOut


@contextlib.contextmanager
def incomplete_on_failure() -> Iterator[None]:
    """Raise `IncompleteExport` if the connection fails in the block."""
    try:
        yield
    except (ConnectionFailed, GarbledAnswer, TimedOut) as exc:
        raise IncompleteExport(f"The export broke off, it is incomplete: {exc}") from exc


class LineSplitter:
    """Takes bytes in chunks of any size, and returns the lines that they complete."""

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The completed lines, without line ends and empty lines."""
        first, *more = data.split(b"\n")
        self._unfinished.append(first)
        if not more:
            return []
        lines = [b"".join(self._unfinished), *more[:-1]]
        self._unfinished = [more[-1]]
        return [line for line in lines if line.strip()]

    def end(self) -> None:
        """Check that the stream ended with a line."""
        if b"".join(self._unfinished).strip():
            raise IncompleteExport("The export ends in the middle of a record")


class ExportFile:
    """The file of an export. A file at a path is replaced only by a complete export."""

    def __init__(self, destination: str | os.PathLike[str] | IO[bytes]) -> None:
        self._size = 0
        self._ends_with_line = True  # an empty export does
        self._path: Path | None = None
        self._part: Path | None = None
        if isinstance(destination, str | os.PathLike):
            self._path = Path(destination)
            self._part = self._path.with_name(f".{self._path.name}.{token_hex(6)}.part")
            self._file: IO[bytes] = self._part.open("xb")
        else:
            self._file = destination

    def __enter__(self) -> ExportFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._part is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):  # it was renamed
                self._part.unlink()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)
        self._ends_with_line = data.endswith(b"\n") if data else self._ends_with_line

    def finish(self) -> int:
        """Give the complete file its name. Returns its size in bytes."""
        if not self._ends_with_line:
            raise IncompleteExport("The export ends in the middle of a record")
        self._file.flush()
        if self._path is not None and self._part is not None:
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
        return self._size
