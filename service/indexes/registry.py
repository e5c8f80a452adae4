"""The per-app registry: a pool per logical index, opened together and closed in reverse.

Knows nothing of Quart. `opened` is an async context manager, and its one promise is that whatever
happens on the way in or out, every pool that was opened is closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pinecone import AsyncPinecone

from service.indexes.dialect import Dialect
from service.indexes.pinecone import IndexSpec, OpenLane, check, open_pool, resolve
from service.indexes.pool import Pool, opened
from service.indexes.port import AsyncIndexPort
from service.indexes.reads import Careful, Reads


@dataclass(frozen=True, slots=True)
class Index:
    """One open index: where it is, how it is spoken to, and the lanes that lead to it."""

    name: str
    host: str
    dialect: Dialect
    pool: Pool[AsyncIndexPort]
    reads: Reads[AsyncIndexPort]
    rebuilding: Callable[[], float | None] = lambda: None
    """How much is done, from 0 to 1, of a rebuild before which it can't answer."""


class Registry:
    """The open indexes by their logical names: `dense`, `sparse`, and whatever else is given."""

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
        self._open: dict[str, Index] = {}

    def __getitem__(self, name: str) -> Index:
        return self._open[name]

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Registry]:
        """Resolve, open and ping each index in turn; close them in reverse."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._open.clear)
            for spec in self._specs:
                self._open[spec.kind] = await self._open_index(spec, stack)
            yield self

    async def _open_index(self, spec: IndexSpec, stack: contextlib.AsyncExitStack) -> Index:
        async with AsyncPinecone(self._api_key, host=self._controller_host) as control:
            host, dialect = await resolve(spec, control)
        pool = open_pool(spec, host, self._api_key, self._lanes, self._calls, self._open_lane)
        await stack.enter_async_context(opened(pool))
        await check(pool, spec, host)
        return Index(spec.kind, host, dialect, pool, Careful(pool))
