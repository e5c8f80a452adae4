"""What is imported, as a body that is never whole in memory. Sends nothing.

A file is sent as it is, packed with gzip or not; records become NDJSON on their way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypedDict

from service.client.call import Call, encoded
from service.client.errors import InvalidArgument
from service.client.models import Job
from service.client.requests import start_import

Format = Literal["ndjson", "csv", "tsv"]
Piece = bytes | Mapping[str, Any]
Source = str | os.PathLike[str] | IO[bytes] | Iterable[Piece]
AsyncSource = Source | AsyncIterable[Piece]
PIECE_BYTES = 64 * 1024
SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}
MEDIA_TYPES: dict[Format, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
}


class ImportOptions(TypedDict, total=False):
    """How to import. The service's defaults count where nothing is said; so does what is None."""

    format: Format | None  # without, as the file's name says
    namespace: str | None
    name: str | None  # to know it by; the file's without
    on_error: Literal["skip", "stop"] | None  # what can't be imported is left out, or is the end
    text_field: str | None  # the column that becomes the text
    id_column: str | None
    flatten: bool | None  # {"a": {"b": 1}} becomes a field a.b
    delimiter: str | None  # of CSV
    strings: bool | None  # every cell is a text


@contextlib.contextmanager
def prepared(source: AsyncSource, options: ImportOptions) -> Iterator[Call[Job]]:
    """The call that imports it. A file that is opened here is closed here, and no other."""
    if unknown := options.keys() - ImportOptions.__annotations__.keys():
        raise TypeError(f"no option of an import: {', '.join(sorted(unknown))}")
    with _opened(source) as body:
        name = options.get("name") or body.name
        format = options.get("format") or body.format or _format_of(name)
        if format not in MEDIA_TYPES:
            raise InvalidArgument(f"format is one of {', '.join(MEDIA_TYPES)}")
        headers = {"Content-Type": MEDIA_TYPES[format]}
        if body.size is not None:  # so the service can tell how much is left
            headers["Content-Length"] = str(body.size)
        yield start_import(body.pieces, headers, {**options, "name": name, "format": format})


@dataclass(frozen=True, slots=True)
class _Body:
    """What is known of a source by looking at it."""

    pieces: Iterator[bytes] | AsyncIterator[bytes]
    name: str | None = None
    format: Format | None = None
    size: int | None = None


@contextlib.contextmanager
def _opened(source: Any) -> Iterator[_Body]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield _Body(_of_file(file), path.name, size=size)
    elif hasattr(source, "read"):
        named = getattr(source, "name", None)
        yield _Body(_of_file(source), Path(named).name if isinstance(named, str) else None)
    elif isinstance(source, AsyncIterable):
        yield _Body(_of_async(source), format="ndjson")
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | Mapping):
        yield _Body(_of_iterable(source), format="ndjson")
    else:
        raise InvalidArgument("give a path, a binary file, or an iterable of records or of bytes")


def _format_of(name: str | None) -> Format:
    """What a file's name says that it is."""
    suffix = Path((name or "").lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise InvalidArgument(f"{name or 'the file'}: say with format= what it is")
    return SUFFIXES[suffix]


def _of_file(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        if not isinstance(piece, bytes):
            raise InvalidArgument("the file gives text: open it with mode 'rb'")
        yield piece


def _of_iterable(source: Iterable[Piece]) -> Iterator[bytes]:
    joined = _Joined()
    for piece in source:
        yield from joined.add(piece)
    yield joined.rest()


async def _of_async(source: AsyncIterable[Piece]) -> AsyncIterator[bytes]:
    joined = _Joined()
    async for piece in source:
        for large in joined.add(piece):
            yield large
    yield joined.rest()


class _Joined:
    """Records as lines, and bytes as they are, in pieces that are worth sending."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def add(self, piece: Piece) -> Iterator[bytes]:
        if isinstance(piece, bytes):
            self._waiting += piece
        elif isinstance(piece, Mapping):
            self._waiting += encoded(piece) + b"\n"
        else:
            raise InvalidArgument(f"a record is a dict, not {type(piece).__name__}")
        if len(self._waiting) >= PIECE_BYTES:
            yield self.rest()

    def rest(self) -> bytes:
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest
