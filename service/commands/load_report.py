"""What `load` reports about its files: notes on how they are read, and every error in a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from service.errors import CommandFailed

MAX_NAMES = 2


class Notes:
    """The notes of a load. Files with the same note share a sentence."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, name: str, note: str) -> None:
        self._names.setdefault(note, []).append(name)

    def sentences(self) -> Iterator[str]:
        for note, names in self._names.items():
            more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
            yield f"{', '.join(names[:MAX_NAMES])}{more}: {note}"


class ErrorLog:
    """Writes errors to a file, one a line. Without a name it writes nothing."""

    def __init__(self, name: str | None) -> None:
        self._path = Path(name) if name else None
        self._file: TextIO | None = None
        all_of_them = f"all of them are in {name}" if name else "--errors FILE writes all of them"
        self.hint = f"; {all_of_them}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        try:
            file = self._path.open("w")
        except OSError as exc:
            raise CommandFailed(f"--errors {self._path}: can't be written: {exc.strerror}") from exc
        with file:
            self._file = file
            yield

    def write(self, sentence: str) -> None:
        if self._file:
            self._file.write(f"{sentence}\n")
