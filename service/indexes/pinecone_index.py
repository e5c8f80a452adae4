"""A Pinecone index as an `Index`: a dialect, a pool of lanes, and hedged reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from service.indexes.dialect import Dialect
from service.indexes.index import IndexStats, Kind
from service.indexes.limits import MAX_EMBEDDED_RECORDS
from service.indexes.pool import LanePool
from service.indexes.port import AsyncIndexPort
from service.indexes.queries import IndexQuery, IndexResponse, InlineRerank
from service.indexes.reads import HedgedReads, deadline_exceeded
from service.indexes.records import EncodedRecord, IdPage, Record, RecordPage, Selection

CLIENT_GRACE_S = 1.0  # the client's own timeout is only a net beneath ours
PING_TIMEOUT_S = 5.0

ValueT = TypeVar("ValueT")


class PineconeIndex:
    """Reads may be hedged; a write is one call."""

    supports_typos = False
    # Pinecone takes 1,000 documents where it embeds none of their fields, which is unknown here.
    max_records = MAX_EMBEDDED_RECORDS

    def __init__(
        self, kind: Kind, host: str, dialect: Dialect, pool: LanePool[AsyncIndexPort]
    ) -> None:
        self.name = kind
        self.host = host
        self.supports_rerank = dialect.supports_rerank
        self._dialect = dialect
        self._pool = pool
        self._reads = HedgedReads(pool)

    async def search(
        self, query: IndexQuery, rerank: InlineRerank | None, timeout_s: float
    ) -> IndexResponse:
        response, attempts = await self._reads.call(
            lambda client: self._dialect.search(client, query, rerank), timeout_s
        )
        return replace(response, attempts=attempts) if attempts > 1 else response

    async def upsert(
        self, namespace: str, records: Sequence[EncodedRecord], timeout_s: float
    ) -> None:
        documents = [{"_id": record.id, **record.fields} for record in records]
        await self._write(
            lambda client: self._dialect.upsert(
                client, namespace, documents, timeout_s + CLIENT_GRACE_S
            ),
            timeout_s,
        )

    async def fetch(
        self, namespace: str, ids: Sequence[str], timeout_s: float
    ) -> Mapping[str, Record]:
        return await self._read(
            lambda client: self._dialect.fetch(client, namespace, ids, timeout_s + CLIENT_GRACE_S),
            timeout_s,
        )

    async def fetch_where(
        self,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout_s: float,
    ) -> RecordPage:
        return await self._read(
            lambda client: self._dialect.fetch_where(
                client, namespace, filter, limit, cursor, timeout_s + CLIENT_GRACE_S
            ),
            timeout_s,
        )

    async def list_ids(
        self, namespace: str, prefix: str | None, limit: int, cursor: str | None, timeout_s: float
    ) -> IdPage:
        return await self._read(
            lambda client: self._dialect.list_ids(
                client, namespace, prefix, limit, cursor, timeout_s + CLIENT_GRACE_S
            ),
            timeout_s,
        )

    async def delete(self, namespace: str, selection: Selection, timeout_s: float) -> int | None:
        return await self._write(
            lambda client: self._dialect.delete(
                client, namespace, selection, timeout_s + CLIENT_GRACE_S
            ),
            timeout_s,
        )

    async def stats(self, timeout_s: float) -> IndexStats:
        stats = await self._read(
            lambda client: client.describe_index_stats(timeout=timeout_s + CLIENT_GRACE_S),
            timeout_s,
        )
        counts = {name: each.vector_count for name, each in stats.namespaces.items()}
        return IndexStats(stats.total_vector_count, stats.dimension, stats.metric, counts)

    async def ping(self) -> None:
        await self._pool.call(ping)

    def rebuild_progress(self) -> float | None:
        return None

    async def _read(
        self, operation: Callable[[AsyncIndexPort], Awaitable[ValueT]], timeout_s: float
    ) -> ValueT:
        return (await self._reads.call(operation, timeout_s)).value

    async def _write(
        self, operation: Callable[[AsyncIndexPort], Awaitable[ValueT]], timeout_s: float
    ) -> ValueT:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._pool.call(operation)
        except TimeoutError:
            raise deadline_exceeded(self._pool.name, timeout_s) from None


async def ping(client: AsyncIndexPort) -> None:
    """Connect, and check that the index answers."""
    await client.describe_index_stats(timeout=PING_TIMEOUT_S)
