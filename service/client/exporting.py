"""An export is whole, or it is an error. Knows no wire."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import IO

from service.client.errors import ConnectionFailed, GarbledAnswer, IncompleteExport, TimedOut

BROKEN = (ConnectionFailed, GarbledAnswer, TimedOut)


class Whole:
    """A block in which an export is read: what breaks it off once it has begun says that."""

    def __init__(self) -> None:
        self.begun = False

    def __enter__(self) -> Whole:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.begun and isinstance(exc, BROKEN):
            raise IncompleteExport(f"The export broke off, it is not whole: {exc}") from exc


class Lines:
    """Takes bytes as they happen to arrive, gives the lines that they complete."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their ends; empty ones are left out."""
        first, *more = data.split(b"\n")
        self._rest.append(first)
        if not more:
            return []
        lines = [b"".join(self._rest), *more[:-1]]
        self._rest = [more[-1]]
        return [line for line in lines if line.strip()]

    def end(self) -> None:
        """Nothing more comes: then nothing is left, or something is missing."""
        if b"".join(self._rest).strip():
            raise IncompleteExport("The export ends in the middle of a record")


class Destination:
    """A file to export to. What is at a path stays as it is until all of the export is there."""

    def __init__(self, destination: str | os.PathLike[str] | IO[bytes]) -> None:
        self._size = 0
        self._ends = True  # with a line's end, that is, as an empty export does
        self._path: Path | None = None
        self._part: Path | None = None
        if isinstance(destination, str | os.PathLike):
            self._path = Path(destination)
            self._part = self._path.with_name(f".{self._path.name}.{token_hex(6)}.part")
            self._file: IO[bytes] = self._part.open("xb")
        else:
            self._file = destination

    def __enter__(self) -> Destination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._part is not None:
            self._file.close()
            with suppress(FileNotFoundError):  # it has got its name
                self._part.unlink()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)
        self._ends = data.endswith(b"\n") if data else self._ends

    def finish(self) -> int:
        """All is there: give the file its name. How many bytes it has."""
        if not self._ends:
            raise IncompleteExport("The export ends in the middle of a record")
        self._file.flush()
        if self._path is not None and self._part is not None:
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
        return self._size
