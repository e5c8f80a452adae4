"""Records, pages of them, and selections of records to delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENVELOPE_BYTES = 16  # of a record in a request, beside its id and fields

Record = Mapping[str, Any]
"""A record as it is read: `_id`, and its fields beside it."""


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A valid record to write. `json` is the encoding of its fields."""

    id: str
    fields: Mapping[str, Any]
    json: bytes

    @property
    def size(self) -> int:
        """The bytes that the record takes in a request."""
        return len(self.json) + len(self.id) + ENVELOPE_BYTES


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """How many written records are new, replaced another, or were there already.

    All are 0 where the backend does not report it.
    """

    created: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: WriteCounts) -> WriteCounts:
        return WriteCounts(
            self.created + other.created,
            self.replaced + other.replaced,
            self.unchanged + other.unchanged,
        )

    def reported(self, written: int) -> dict[str, int | None]:
        """The counts by name, each None unless they are known for all `written` records."""
        counts = {
            "created": self.created,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
        }
        if sum(counts.values()) != written:
            return dict.fromkeys(counts)
        return dict(counts)


NO_COUNTS = WriteCounts()


@dataclass(frozen=True, slots=True)
class IdPage:
    """A page of a namespace's ids, in order, and the cursor of the next page."""

    ids: list[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A page of the records that match a filter, and the cursor of the next page."""

    records: Sequence[Record]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The records to delete, by exactly one of the three: none of them is never everything."""

    ids: tuple[str, ...] | None = None
    filter: Mapping[str, Any] | None = None
    all: bool = False
