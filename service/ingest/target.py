"""`Target`: where a load writes its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.indexes.records import NO_COUNTS, WriteCounts


@dataclass(frozen=True, slots=True)
class Failure:
    """One record that was not written: its id if it has one, its position in the batch, and why."""

    id: str | None
    index: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The number of records that were written, and the failures, in the order of the batch."""

    written: int
    failures: Sequence[Failure] = ()
    counts: WriteCounts = NO_COUNTS


class Target(Protocol):
    """Writes batches. An error of a whole batch is raised, as a `RequestError`."""

    @property
    def text_field(self) -> str:
        """The field with the text of a record."""
        ...

    @property
    def batch_size(self) -> int:
        """The preferred number of records in a batch."""
        ...

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        """Write records; each replaces the one with its `_id`. No namespace: the default one."""
        ...
