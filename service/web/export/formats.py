"""The formats of an export: NDJSON and CSV.

`service.ingest` reads these files back as the same records.
"""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import orjson

from service.errors import StorageFull, UpstreamGarbled
from service.indexes.records import Record
from service.ingest.formats.cells import format_cell
from service.ingest.record import NAMESPACE_FIELD
from service.web.export.formulas import escape_formulas
from service.web.responses import encode_records
from service.web.validation import invalid_field

Format = Literal["ndjson", "csv"]
Formulas = Literal["keep", "escape"]
MEDIA_TYPES: dict[Format, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
}
MAX_COLUMNS = 1_000

Encoder = Callable[[Sequence[Record]], bytes]


def ndjson_encoder(fields: Sequence[str] | None) -> Encoder:
    """Encodes a record per line: `_id`, `_namespace` if it is given, and the fields."""
    given = None if fields is None else [NAMESPACE_FIELD, *fields]

    def encode(records: Sequence[Record]) -> bytes:
        return b"".join(encode_records(_select(record, given)) + b"\n" for record in records)

    return encode


def csv_encoder(columns: Sequence[str], text_field: str, formulas: Formulas) -> Encoder:
    """Encodes a record per row. Ids and texts are written verbatim, as they are always strings."""

    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        if name == text_field and isinstance(value, str):
            return escape(value)
        try:
            text = format_cell(value)
        except TypeError as exc:
            raise UpstreamGarbled("A record cannot be represented as CSV") from exc
        return text if isinstance(value, (int, float)) else escape(text)

    def encode(records: Sequence[Record]) -> bytes:
        return _encode_csv(
            [escape(record["_id"]), *(cell(name, record.get(name)) for name in columns)]
            for record in records
        )

    escape = _escape_function(formulas)
    return encode


def csv_header(columns: Sequence[str], formulas: Formulas) -> bytes:
    return _encode_csv([["_id", *map(_escape_function(formulas), columns)]])


def _escape_function(formulas: Formulas) -> Callable[[str], str]:
    return escape_formulas if formulas == "escape" else str


class RecordSpool:
    """Records in a temporary file, while their columns are collected. Not thread-safe."""

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        with _storage_errors():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._names: set[str] = set()

    @property
    def columns(self) -> list[str]:
        """The text, and then the other fields by name."""
        return [self._text_field, *sorted(self._names - {self._text_field, "_id"})]

    def add(self, records: Sequence[Record]) -> None:
        self._names.update(*records)
        if len(self._names) > MAX_COLUMNS:
            raise invalid_field(
                "fields",
                f"is required, because the records have more than {MAX_COLUMNS} different fields",
            )
        with _storage_errors():
            self._file.write(encode_records(records) + b"\n")

    def pages(self) -> Iterator[list[Record]]:
        """Yield the records that were added, in the same pages."""
        with _storage_errors():
            self._file.seek(0)
        for line in self._file:
            yield orjson.loads(line)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageFull(
            "The disk of the service is full; a CSV export without fields needs space on it. Send "
            "fields, or export NDJSON"
        ) from exc


def _select(record: Record, fields: Sequence[str] | None) -> Record:
    if fields is None:
        return record
    return {"_id": record["_id"], **{name: record[name] for name in fields if name in record}}


def _encode_csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
