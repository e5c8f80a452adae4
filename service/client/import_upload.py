"""The request body of an import. Sources of any size are read in pieces, as they are sent.

A file is sent as it is, compressed or not; records are sent as NDJSON.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypedDict

from service.client.call import Call, encode_json
from service.client.endpoints import check_options, start_import
from service.client.errors import InvalidArgument
from service.client.models import Job

Format = Literal["ndjson", "csv", "tsv", "text", "markdown", "html", "pdf"]
Piece = bytes | Mapping[str, Any]
Source = str | os.PathLike[str] | IO[bytes] | Iterable[Piece]
AsyncSource = Source | AsyncIterable[Piece]
PIECE_BYTES = 64 * 1024
FORMATS_BY_SUFFIX: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",  # an array or lines
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
MEDIA_TYPES: dict[Format, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "text": "application/octet-stream",  # text/plain may be anything
    "markdown": "text/markdown",
    "html": "text/html",
    "pdf": "application/pdf",
}


class ImportOptions(TypedDict, total=False):
    """Options of an import. An option that is missing or None has the service's default."""

    format: Format | None  # default: from the file's suffix
    namespace: str | None
    name: str | None  # a label for the job; default: the file's name
    on_error: Literal["skip", "stop"] | None
    text_field: str | None  # the field that is the text, or several to join: "title,body"
    text_template: str | None  # such as "{title}. {body}"
    id_field: str | None
    id_column: str | None  # the former name of id_field
    flatten: bool | None  # {"a": {"b": 1}} becomes the field a.b; default: True
    split: bool | None  # split long texts into passages
    delimiter: str | None  # of CSV; default: found in the file
    encoding: str | None  # such as "windows-1252"; default: found in the file
    strings: bool | None  # read every CSV cell as text


@contextlib.contextmanager
def import_call(source: AsyncSource, options: ImportOptions) -> Iterator[Call[Job]]:
    """The call that imports `source`. A file given by its path is open until the block ends."""
    check_options(options, ImportOptions, "import")
    with _open_source(source) as body:
        name = options.get("name") or body.name
        format = options.get("format") or body.format or _format_of(name)
        if format not in MEDIA_TYPES:
            raise InvalidArgument(f"format must be one of {', '.join(MEDIA_TYPES)}")
        headers = {"Content-Type": MEDIA_TYPES[format]}
        if body.size is not None:  # the service needs it for an ETA
            headers["Content-Length"] = str(body.size)
        yield start_import(body.pieces, headers, {**options, "name": name, "format": format})


@dataclass(frozen=True, slots=True)
class _Body:
    pieces: Iterator[bytes] | AsyncIterator[bytes]
    name: str | None = None
    format: Format | None = None
    size: int | None = None


@contextlib.contextmanager
def _open_source(source: Any) -> Iterator[_Body]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield _Body(_read_file(file), path.name, size=size)
    elif hasattr(source, "read"):
        name = getattr(source, "name", None)
        yield _Body(_read_file(source), Path(name).name if isinstance(name, str) else None)
    elif isinstance(source, AsyncIterable):
        yield _Body(_join_async(source), format="ndjson")
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | Mapping):
        yield _Body(_join(source), format="ndjson")
    else:
        raise InvalidArgument("give a path, a binary file, or an iterable of records or of bytes")


def _format_of(name: str | None) -> Format:
    suffix = Path((name or "").lower().removesuffix(".gz")).suffix
    if suffix not in FORMATS_BY_SUFFIX:
        raise InvalidArgument(f"{name or 'the file'}: its name has no known suffix; give format=")
    return FORMATS_BY_SUFFIX[suffix]


def _read_file(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        if not isinstance(piece, bytes):
            raise InvalidArgument("the file returns text: open it with mode 'rb'")
        yield piece


def _join(source: Iterable[Piece]) -> Iterator[bytes]:
    buffer = _PieceBuffer()
    for piece in source:
        yield from buffer.add(piece)
    yield buffer.flush()


async def _join_async(source: AsyncIterable[Piece]) -> AsyncIterator[bytes]:
    buffer = _PieceBuffer()
    async for piece in source:
        for joined in buffer.add(piece):
            yield joined
    yield buffer.flush()


class _PieceBuffer:
    """Joins small pieces; each record becomes a line."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, piece: Piece) -> Iterator[bytes]:
        if isinstance(piece, bytes):
            self._buffer += piece
        elif isinstance(piece, Mapping):
            self._buffer += encode_json(piece) + b"\n"
        else:
            raise InvalidArgument(f"a record must be a dict, not {type(piece).__name__}")
        if len(self._buffer) >= PIECE_BYTES:
            yield self.flush()

    def flush(self) -> bytes:
        joined = bytes(self._buffer)
        self._buffer.clear()
        return joined
