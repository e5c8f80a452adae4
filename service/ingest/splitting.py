"""Splits records with long texts into passages, each a record of its own.

The id of a passage is that of its record, `#`, and its number, as for the passages of a text file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from service.indexes.limits import MAX_ID_LENGTH
from service.ingest.passages import MOST, size, split
from service.ingest.reading import Position
from service.ingest.record import Item, Record, RecordError, estimated_size


def split_records(items: Iterator[Item], text_field: str, after: Position) -> Iterator[Item]:
    """The items of a file from the position `after` on, with passages instead of records."""
    for item in items:
        if isinstance(item, Record):
            yield from _passages(item, text_field, after)
        else:
            yield item
        after = item.after


def _passages(record: Record, text_field: str, before: Position) -> Iterator[Item]:
    """The passages of a record. Only the position of the last one is after the record."""
    id, text = record.fields["_id"], record.fields[text_field]
    passages = list(split(io.StringIO(text), markdown=False))
    if len(id) + len(f"#{len(passages) - 1}") > MAX_ID_LENGTH:
        reason = f"has an id that is too long to split: {id[:40]}…"
        yield RecordError(record.where, reason, record.line, record.after)
        return
    others = {
        name: value
        for name, value in record.fields.items()
        if name not in {"_id", text_field} and not _is_in_text(value, text)
    }
    for number, passage in enumerate(passages):
        fields = {
            "_id": f"{id}#{number}",
            "document_id": id,
            "position": number,
            **others,
            text_field: passage.text,
        }
        after = Position(before.lines, before.offset, number + 1)
        if number == len(passages) - 1:
            after = record.after
        yield replace(record, fields=fields, size=estimated_size(fields), after=after)


def _is_in_text(value: object, text: str) -> bool:
    """Whether a field is a long part of the text: its passages have it already."""
    return isinstance(value, str) and size(value) > MOST and value.strip() in text
