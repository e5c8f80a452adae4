"""Where records go. Knows nothing of where they come from, nor of what is behind the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Failure:
    """One record that was not written. `index` is its place in the batch."""

    id: str | None
    index: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: how many of it are safe, and which are not."""

    written: int
    failures: Sequence[Failure] = ()


class Target(Protocol):
    """Takes batches. What concerns a whole batch is raised, as a `RequestError`."""

    @property
    def text_field(self) -> str:
        """The field that holds a record's text."""
        ...

    @property
    def batch_size(self) -> int:
        """How many records at once it likes best."""
        ...

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        """Write records, each in place of the one with its `_id`. An empty namespace: its own."""
        ...
