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

from service.backends import Opened, Sources
from service.errors import RequestError, Unavailable, UpstreamTimeout
from service.indexes.index import Index, ping
from service.records.finishing import Wrote
from service.records.records import IndexStats, Records
from service.records.sending import Target
from service.retrieval.cascade import cascade
from service.retrieval.deadline import Deadline
from service.retrieval.legs import Leg
from service.retrieval.query import Highlighter, Mode, SearchQuery, StageEvent
from service.retrieval.rerank import TimedReranker

NOT_OPEN = "The service is not open; it is starting, stopping, or misassembled"
READY_TIMEOUT_S = 3.0
READY_FOR_S = 1.0  # how long an answer to "are you ready" holds


@dataclass(frozen=True, slots=True)
class Health:
    """Whether one index answers; the code of its error, or how far its rebuild is."""

    index: str
    error: str | None


class Backend:
    """The indexes and the reranker behind an app's searches, while they are open.

    `upserts_at_once` bounds the calls that write; `wrote` is told of each namespace written to.
    """

    def __init__(self, sources: Sources, upserts_at_once: int, wrote: Wrote) -> None:
        self.max_reranked = sources.max_reranked
        self.reranks_unasked = sources.reranks_unasked
        self._sources = sources
        self._upserts_at_once = upserts_at_once
        self._wrote = wrote
        self._opened: Opened | None = None
        self._records: Records | None = None
        self._reranking: TimedReranker | None = None
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
            self._reranking = TimedReranker(opened.reranker) if opened.reranker else None
            self._opened = opened
            self._records = self._open_records(opened)
            try:
                yield self
            finally:
                self._opened = None
                await self._records.close()
                self._records = None

    def _open_records(self, opened: Opened) -> Records:
        hosts = _hosts(opened).values()
        targets = [Target(index.dialect, index.pool, index.reads) for index in hosts]
        return Records(targets, opened.text_field, self._upserts_at_once, opened.show, self._wrote)

    @property
    def place(self) -> str:
        """Where what is searched is, while it is open."""
        return self._opened.place if self._opened else ""

    @property
    def records(self) -> Records:
        """The records behind the searches."""
        if self._records is None:
            raise Unavailable(NOT_OPEN)
        return self._records

    @property
    def supports_typos(self) -> bool:
        return self._opened is not None and self._opened.sparse.dialect.supports_typos

    @property
    def highlighter(self) -> Highlighter | None:
        return self._opened.highlighter if self._opened else None

    async def stats(self, deadline: Deadline) -> dict[str, IndexStats]:
        """How much is in each index, by its name. One that has both names is asked once."""
        records, opened = self.records, self._opened
        assert opened is not None, "records are there while it is open"  # noqa: S101
        hosts = _hosts(opened)
        by_host = dict(zip(hosts, await records.stats(deadline), strict=True))
        return {index.name: by_host[index.host] for index in (opened.dense, opened.sparse)}

    def search(
        self, mode: Mode, query: SearchQuery, deadline: Deadline
    ) -> AsyncIterator[StageEvent]:
        """The events of one search, the last of which has the answer."""
        if self._opened is None:
            raise Unavailable(NOT_OPEN)
        return cascade(query, self._legs[mode], self._reranking, deadline)

    async def health(self) -> list[Health]:
        """Ask each index; callers at the same time, and shortly after, share one round of calls."""
        async with self._asking:
            asked_at, health = self._health
            if not health or time.monotonic() - asked_at > READY_FOR_S:
                indexes = [self._opened.dense, self._opened.sparse] if self._opened else []
                health = list(await asyncio.gather(*map(_check, indexes)))
                self._health = (time.monotonic(), health)
            return health


def _hosts(opened: Opened) -> dict[str, Index]:
    """The indexes by where they are: two that are in one place are one, and are written once."""
    hosts = {opened.dense.host: opened.dense}
    hosts.setdefault(opened.sparse.host, opened.sparse)
    return hosts


def _leg(name: str, index: Index, opened: Opened) -> Leg:
    return Leg(
        name,
        index.dialect,
        index.reads,
        opened.text_field,
        candidates=opened.candidates_alone,
    )


async def _check(index: Index) -> Health:
    if (done := index.rebuild_progress()) is not None:
        return Health(index.name, f"rebuilding, {done:.0%} done")
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await index.pool.call(ping)
    except RequestError as exc:
        return Health(index.name, exc.code)
    except TimeoutError:
        return Health(index.name, UpstreamTimeout.code)
    return Health(index.name, None)
