"""What is written to an index and read back: records, pages of their ids, what to delete.

Also what Pinecone takes in one call, which whoever writes has to keep to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
"""A record as it is written and read: `_id`, and its fields beside it."""

# Pinecone takes 1,000 documents a call, but only 96 where it embeds one of their fields, and that
# can't be seen from here. An index that takes more says so.
EMBEDDED_AT_ONCE = 96
MAX_UPSERT_BYTES = 2_000_000  # "2 MB", of which the envelope needs a little
MAX_IDS = 1_000
MAX_PAGE = 100
MAX_ID = 512


@dataclass(frozen=True, slots=True)
class IdPage:
    """Some of a namespace's ids, in order, and the cursor of those that follow."""

    ids: list[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some of the records that a filter selects, and the cursor of those that follow."""

    records: Sequence[Record]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records to delete: exactly one of the three, so nothing is meant by leaving all out."""

    ids: tuple[str, ...] | None = None
    filter: Mapping[str, Any] | None = None
    all: bool = False


def is_id(value: object) -> bool:
    """Whether Pinecone takes it for an id: 1 to 512 ASCII characters, none of them NUL."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_ID
        and value.isascii()
        and "\0" not in value
    )
