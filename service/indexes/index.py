"""An open index: its location, dialect, lanes and reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.indexes.dialect import Dialect
from service.indexes.pool import LanePool
from service.indexes.port import AsyncIndexPort
from service.indexes.reads import Reads

PING_TIMEOUT_S = 5.0

Kind = Literal["dense", "sparse"]


@dataclass(frozen=True, slots=True)
class Index:
    """`rebuild_progress` is the completed share of a rebuild, or None while the index can answer.

    `name` is the logical name of the index, such as `dense`.
    """

    name: str
    host: str
    dialect: Dialect
    pool: LanePool[AsyncIndexPort]
    reads: Reads[AsyncIndexPort]
    rebuild_progress: Callable[[], float | None] = lambda: None


async def ping(index: AsyncIndexPort) -> None:
    """Connect, and check that the index answers."""
    await index.describe_index_stats(timeout=PING_TIMEOUT_S)
