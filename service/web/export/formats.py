"""Records as the bytes of an export: NDJSON, CSV, packed with gzip or not.

Knows nothing of where they come from or go to, nor of event loops. What is written here is read
again by `service.ingest` as the same records.
"""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import orjson

from service.errors import InvalidField, InvalidRequest, StorageFull, UpstreamGarbled
from service.indexes.writes import Record
from service.ingest.cells import written

Format = Literal["ndjson", "csv"]
MEDIA_TYPES: dict[Format, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
}
MAX_COLUMNS = 1_000
GZIP_WINDOW = 31  # the largest, in gzip's wrapping
GZIP_LEVEL = 4

Rows = Callable[[Sequence[Record]], bytes]


def ndjson(fields: Sequence[str] | None) -> Rows:
    """A record a line, its `_id` first."""

    def rows(records: Sequence[Record]) -> bytes:
        return b"".join(_json(_chosen(record, fields)) + b"\n" for record in records)

    return rows


def csv_rows(columns: Sequence[str], text_field: str) -> Rows:
    """A record a row. The id and the text stand as they are; they are never anything but texts."""

    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        verbatim = name == text_field and isinstance(value, str)
        return value if verbatim else _written(value)

    def rows(records: Sequence[Record]) -> bytes:
        return _csv(
            [record["_id"], *(cell(name, record.get(name)) for name in columns)]
            for record in records
        )

    return rows


def csv_header(columns: Sequence[str]) -> bytes:
    return _csv([["_id", *columns]])


class Spool:
    """Records on disk, until it is known which columns they have. Used by one thread at a time."""

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        with _on_disk():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._names: set[str] = set()

    @property
    def columns(self) -> list[str]:
        """The text first, the others by their names."""
        return [self._text_field, *sorted(self._names - {self._text_field, "_id"})]

    def add(self, records: Sequence[Record]) -> None:
        """One page."""
        self._names.update(*records)
        if len(self._names) > MAX_COLUMNS:
            msg = f"must be given: the records have more than {MAX_COLUMNS} fields altogether"
            raise InvalidRequest(f"fields: {msg}", invalid_fields=[InvalidField(("fields",), msg)])
        with _on_disk():
            self._file.write(_json(records) + b"\n")

    def pages(self) -> Iterator[list[Record]]:
        """The same pages again, once all are there."""
        with _on_disk():
            self._file.seek(0)
        for line in self._file:
            yield orjson.loads(line)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageFull(
            "An export as CSV is kept on disk while its columns are found out, and there is no "
            "space for it: give its fields, or export NDJSON"
        ) from exc


class Gzip:
    """Packs what it is given, piece by piece."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)

    def pack(self, data: bytes) -> bytes:
        return self._packer.compress(data)

    def end(self) -> bytes:
        return self._packer.flush()


class Plain:
    """Packs nothing."""

    def pack(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


def _chosen(record: Record, fields: Sequence[str] | None) -> Record:
    if fields is None:
        return record
    return {"_id": record["_id"], **{name: record[name] for name in fields if name in record}}


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _written(value: Any) -> str:
    try:
        return written(value)
    except TypeError as exc:
        raise UpstreamGarbled(UNWRITABLE) from exc


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as exc:  # a number of more than 64 bits, or a field nested without end
        raise UpstreamGarbled(UNWRITABLE) from exc


UNWRITABLE = "A record can't be written as JSON"
