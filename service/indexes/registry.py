"""The open Pinecone indexes of an app, opened together and closed in reverse order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from pinecone import AsyncPinecone

from service.indexes.pinecone import IndexSpec, OpenLane, check, open_pool, resolve
from service.indexes.pinecone_index import PineconeIndex
from service.indexes.pool import closing


class IndexRegistry:
    """The indexes by logical name: `dense` and `sparse`."""

    def __init__(
        self,
        specs: Sequence[IndexSpec],
        *,
        api_key: str,
        controller_host: str | None,
        lanes: int,
        calls: int,
        open_lane: OpenLane,
    ) -> None:
        self._specs = specs
        self._api_key = api_key
        self._controller_host = controller_host
        self._lanes = lanes
        self._calls = calls
        self._open_lane = open_lane
        self._indexes: dict[str, PineconeIndex] = {}

    def __getitem__(self, name: str) -> PineconeIndex:
        return self._indexes[name]

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[IndexRegistry]:
        """Resolve, open and ping each index in turn; if one fails, the others are closed."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._indexes.clear)
            for spec in self._specs:
                self._indexes[spec.kind] = await self._open_index(spec, stack)
            yield self

    async def _open_index(self, spec: IndexSpec, stack: contextlib.AsyncExitStack) -> PineconeIndex:
        async with AsyncPinecone(self._api_key, host=self._controller_host) as control:
            host, dialect = await resolve(spec, control)
        pool = open_pool(spec, host, self._api_key, self._lanes, self._calls, self._open_lane)
        await stack.enter_async_context(closing(pool))
        await check(pool, spec, host)
        return PineconeIndex(spec.kind, host, dialect, pool)
