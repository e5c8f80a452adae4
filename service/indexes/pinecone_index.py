"""What the two kinds of Pinecone indexes share: a pool of lanes, hedged reads, single writes.

Pinecone has two APIs to search and write an index. `RecordsIndex` uses the records API, and
`DocumentsIndex` the documents API. Each method passes an operation, which makes the calls of one
client and parses the responses: a response that can't be parsed is a fault of the upstream, and is
reported as one. Clients have no timeouts, because every operation runs under a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pinecone import AsyncIndex
from pinecone.models.vectors.responses import Pagination

from service.indexes.index import IndexStats, Kind
from service.indexes.limits import MAX_EMBEDDED_RECORDS
from service.indexes.pool import LanePool
from service.indexes.reads import HedgedReads, deadline_exceeded
from service.indexes.records import EncodedRecord

PING_TIMEOUT_S = 5.0

ValueT = TypeVar("ValueT")


class PineconeIndex:
    """Reads may be hedged; a write is one call."""

    supports_typos = False
    # Pinecone takes 1,000 documents where it embeds none of their fields, which is unknown here.
    max_records = MAX_EMBEDDED_RECORDS

    def __init__(self, kind: Kind, host: str, pool: LanePool[AsyncIndex]) -> None:
        self.name = kind
        self.host = host
        self._pool = pool
        self.reads = HedgedReads(pool)

    async def stats(self, timeout_s: float) -> IndexStats:
        stats = await self._read(lambda client: client.describe_index_stats(), timeout_s)
        counts = {name: each.vector_count for name, each in stats.namespaces.items()}
        return IndexStats(stats.total_vector_count, stats.dimension, stats.metric, counts)

    def has_records(self, namespace: str) -> None:
        """Unknown: it would take a call."""

    async def ping(self) -> None:
        await self._pool.call(ping)

    def rebuild_progress(self) -> float | None:
        return None

    async def _read(
        self, operation: Callable[[AsyncIndex], Awaitable[ValueT]], timeout_s: float
    ) -> ValueT:
        return (await self.reads.call(operation, timeout_s)).value

    async def _write(
        self, operation: Callable[[AsyncIndex], Awaitable[ValueT]], timeout_s: float
    ) -> ValueT:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._pool.call(operation)
        except TimeoutError:
            raise deadline_exceeded(self._pool.name, timeout_s) from None


async def ping(client: AsyncIndex) -> None:
    """Connect, and check that the index answers."""
    await client.describe_index_stats(timeout=PING_TIMEOUT_S)


def to_document(record: EncodedRecord) -> dict[str, Any]:
    """A record as both APIs take it."""
    return {"_id": record.id, **record.fields}


def next_cursor(pagination: Pagination | None) -> str | None:
    """The cursor of the page after the one that a response has."""
    return pagination.next if pagination else None
