"""The searches and the records of an app, over one backend.

Before it is opened, and after it is closed, every call raises `Unavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from service.access.grant import Grant
from service.backends.protocol import Backend, OpenBackend
from service.errors import RequestError, Unavailable, UpstreamTimeout
from service.indexes.index import Index, IndexStats
from service.indexes.reads import HedgedReads
from service.records.records import OnWrite, Records
from service.records.scoped import ScopedRecords
from service.retrieval.cascade import cascade
from service.retrieval.deadline import Deadline
from service.retrieval.legs import Leg
from service.retrieval.query import Highlighter, Mode, SearchQuery, StageEvent
from service.retrieval.receipt import Receipt
from service.retrieval.rerank import TimedReranker
from service.retrieval.traced import TracedReranker, traced_leg

if TYPE_CHECKING:  # the engine takes long to import, and Pinecone needs none of it
    from service.embedded.engine_state import EngineState
    from service.tracing.spans import Tracing

NOT_OPEN = "The service is not open; it is starting, stopping, or misassembled"
PING_TIMEOUT_S = 3.0
HEALTH_TTL_S = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one index. `error` is an error code or the progress of a rebuild."""

    index: str
    error: str | None


class SearchBackend:
    """`max_concurrent_upserts` bounds the calls that write; for `on_write` see `Records`."""

    def __init__(
        self,
        backend: Backend,
        max_concurrent_upserts: int,
        on_write: OnWrite,
        tracing: Tracing | None = None,
    ) -> None:
        self.max_reranked = backend.max_reranked
        self.reranks_by_default = backend.reranks_by_default
        self._backend = backend
        self._max_concurrent_upserts = max_concurrent_upserts
        self._on_write = on_write
        self._tracing = tracing
        self._open: OpenBackend | None = None
        self._records: Records | None = None
        self._reranker: TimedReranker | None = None
        self._legs: dict[Mode, tuple[Leg, ...]] = {}
        self._health: tuple[float, list[Health]] = (0.0, [])
        self._health_lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[SearchBackend]:
        """Open the backend; close it in reverse order."""
        async with self._backend.opened() as backend:
            self._legs, self._reranker = _stages(backend, self._tracing)
            self._open = backend
            self._records = Records(
                list(_by_host(backend).values()),
                backend.text_field,
                self._max_concurrent_upserts,
                backend.wait_until_visible,
                self._on_write,
            )
            try:
                yield self
            finally:
                self._open = None
                await self._records.close()
                self._records = None

    @property
    def location(self) -> str:
        """The location of the data; empty while closed."""
        return self._open.location if self._open else ""

    @property
    def all_records(self) -> Records:
        """The records without the limits of a caller."""
        if self._records is None:
            raise Unavailable(NOT_OPEN)
        return self._records

    def records(self, grant: Grant) -> ScopedRecords:
        """The records that a caller may see."""
        return ScopedRecords(self.all_records, grant)

    @property
    def supports_typos(self) -> bool:
        return self._open is not None and self._open.sparse.supports_typos

    @property
    def highlighter(self) -> Highlighter | None:
        return self._open.highlighter if self._open else None

    async def stats(self, grant: Grant, deadline: Deadline) -> dict[str, IndexStats]:
        """The statistics of each index, by its name.

        A namespace of which the caller sees only a part is left out, as one that it does not see.
        """
        if self._open is None:
            raise Unavailable(NOT_OPEN)
        indexes = _by_host(self._open)
        stats = dict(zip(indexes, await self.all_records.stats(deadline), strict=True))
        return {
            index.name: _visible(stats[index.host], grant)
            for index in (self._open.dense, self._open.sparse)
        }

    async def namespaces(self, grant: Grant, deadline: Deadline) -> dict[str, int]:
        """The number of records in each namespace, in order: the larger one of both indexes."""
        counts = [index.namespaces for index in (await self.stats(grant, deadline)).values()]
        names = sorted({name for each in counts for name in each})
        return {name: max(each.get(name, 0) for each in counts) for name in names}

    async def readable_namespaces(self, grant: Grant, deadline: Deadline) -> list[str]:
        """The names of the namespaces of which the caller sees at least a part."""
        counts = [each.namespaces for each in await self.all_records.stats(deadline)]
        names = sorted({name for each in counts for name in each})
        return [name for name in names if grant.allows_namespace(name)]

    def is_empty(self, namespace: str) -> bool:
        """Whether a namespace is known to have no records."""
        return self._open is not None and self._open.dense.has_records(namespace) is False

    @property
    def upstreams(self) -> Mapping[str, HedgedReads[Any]]:
        """The reads of each upstream by its name, for the metrics."""
        return self._open.upstreams if self._open else {}

    def engine_state(self) -> EngineState | None:
        """The state of the embedded engine, if there is one. Call it in a thread."""
        if self._open is None or self._open.engine_state is None:
            return None
        return self._open.engine_state()

    def search(
        self, mode: Mode, query: SearchQuery, deadline: Deadline, receipt: Receipt
    ) -> AsyncIterator[StageEvent]:
        """Run a search, and note its stages in `receipt`. The last event has the answer."""
        if self._open is None:
            raise Unavailable(NOT_OPEN)
        return cascade(query, self._legs[mode], self._reranker, deadline, receipt)

    async def health(self) -> list[Health]:
        """Ping each index. Concurrent callers, and those shortly after, share one result."""
        async with self._health_lock:
            checked_at, health = self._health
            if not health or time.monotonic() - checked_at > HEALTH_TTL_S:
                indexes = [self._open.dense, self._open.sparse] if self._open else []
                health = list(await asyncio.gather(*map(_check, indexes)))
                self._health = (time.monotonic(), health)
            return health


def _by_host(backend: OpenBackend) -> dict[str, Index]:
    """The indexes by host. If both names lead to one host, they are one index, written once."""
    indexes = {backend.dense.host: backend.dense}
    indexes.setdefault(backend.sparse.host, backend.sparse)
    return indexes


def _visible(stats: IndexStats, grant: Grant) -> IndexStats:
    if not grant.is_scoped:
        return stats
    namespaces = {
        name: count for name, count in stats.namespaces.items() if grant.allows_counting(name)
    }
    return replace(stats, records=sum(namespaces.values()), namespaces=namespaces)


def _stages(
    backend: OpenBackend, tracing: Tracing | None
) -> tuple[dict[Mode, tuple[Leg, ...]], TimedReranker | None]:
    """The legs of each search mode, and the reranker; with spans where tracing is on."""
    legs, reranker = _legs(backend), backend.reranker
    if tracing is None:
        return legs, TimedReranker(reranker) if reranker else None
    traced = {mode: tuple(traced_leg(leg, tracing) for leg in legs[mode]) for mode in legs}
    return traced, TracedReranker(reranker, tracing) if reranker else None


def _legs(backend: OpenBackend) -> dict[Mode, tuple[Leg, ...]]:
    """The legs of each search mode."""
    alone = backend.candidates_alone
    semantic = Leg("semantic", backend.dense, backend.text_field, candidates=alone)
    lexical = Leg("lexical", backend.sparse, backend.text_field, candidates=alone)
    weight, candidates = backend.lexical_weight, backend.candidates
    return {
        "semantic": (semantic,),
        "lexical": (lexical,),
        "cascading": (
            replace(semantic, weight=1 - weight, candidates=candidates),
            replace(lexical, weight=weight, candidates=candidates),
        ),
    }


async def _check(index: Index) -> Health:
    if (progress := index.rebuild_progress()) is not None:
        return Health(index.name, f"rebuilding, {progress:.0%} done")
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await index.ping()
    except RequestError as exc:
        return Health(index.name, exc.code)
    except TimeoutError:
        return Health(index.name, UpstreamTimeout.code)
    return Health(index.name, None)
