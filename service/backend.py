"""The searches that an app serves, and everything that has to be open for them.

Knows nothing of HTTP, nor of what is behind the indexes: `sources` opens them. Before that, and
after they are closed, a search is answered with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from service.errors import RequestError, Unavailable, UpstreamTimeout
from service.indexes.pinecone import ping
from service.indexes.registry import Index
from service.retrieval.cascade import cascade
from service.retrieval.deadline import Deadline
from service.retrieval.legs import Leg
from service.retrieval.query import Event, Mode, Query
from service.sources import Opened, Sources

READY_TIMEOUT_S = 3.0
READY_FOR_S = 1.0  # how long an answer to "are you ready" holds


@dataclass(frozen=True, slots=True)
class Health:
    """Whether one index answers."""

    index: str
    error: str | None


class Backend:
    """The indexes and the reranker behind an app's searches, while they are open."""

    def __init__(self, sources: Sources) -> None:
        self.max_reranked = sources.max_reranked
        self._sources = sources
        self._opened: Opened | None = None
        self._legs: dict[Mode, tuple[Leg, ...]] = {}
        self._health: tuple[float, list[Health]] = (0.0, [])
        self._asking = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Backend]:
        """Open all of it; close it in reverse."""
        async with self._sources.opened() as opened:
            semantic = _leg("semantic", opened.dense, opened)
            lexical = _leg("lexical", opened.sparse, opened)
            self._legs = {
                "semantic": (semantic,),
                "lexical": (lexical,),
                "cascading": (
                    replace(
                        semantic, weight=1 - opened.lexical_weight, candidates=opened.candidates
                    ),
                    replace(lexical, weight=opened.lexical_weight, candidates=opened.candidates),
                ),
            }
            self._opened = opened
            try:
                yield self
            finally:
                self._opened = None

    def search(self, mode: Mode, query: Query, deadline: Deadline) -> AsyncIterator[Event]:
        """The events of one search, the last of which has the answer."""
        if self._opened is None:
            raise Unavailable("The service is not open; it is starting, stopping, or misassembled")
        return cascade(query, self._legs[mode], self._opened.reranker, deadline)

    async def health(self) -> list[Health]:
        """Ask each index; callers at the same time, and shortly after, share one round of calls."""
        async with self._asking:
            asked_at, health = self._health
            if not health or time.monotonic() - asked_at > READY_FOR_S:
                indexes = [self._opened.dense, self._opened.sparse] if self._opened else []
                health = list(await asyncio.gather(*map(_check, indexes)))
                self._health = (time.monotonic(), health)
            return health


def _leg(name: str, index: Index, opened: Opened) -> Leg:
    return Leg(name, index.dialect, index.pool, opened.text_field)


async def _check(index: Index) -> Health:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await index.pool.call(ping)
    except RequestError as exc:
        return Health(index.name, exc.code)
    except TimeoutError:
        return Health(index.name, UpstreamTimeout.code)
    return Health(index.name, None)
