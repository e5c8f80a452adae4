"""How far a load has come, and who is told of it. Knows only numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.ingest.items import Fault
from service.ingest.reading import START, Spot


@dataclass(frozen=True, slots=True)
class Mark:
    """Every item up to `position` is dealt with: written, or counted among the failed.

    `after` is where in the file that is, if there is only one.
    """

    position: int = 0
    written: int = 0
    failed: int = 0
    after: Spot = START


class Keeper(Protocol):
    """Keeps the mark of a load, so that it can be resumed from there."""

    def save(self, mark: Mark, faults: Sequence[Fault] = ()) -> None:
        """It has come to here; `faults` are those since the mark before. It does not take long."""
        ...
