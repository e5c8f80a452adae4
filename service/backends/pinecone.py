"""The Pinecone backend: two indexes, and a hosted reranker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.backends.protocol import OpenBackend
from service.errors import StartupFailed
from service.indexes.index import Index, Kind
from service.indexes.pinecone import IndexSpec, OpenLane, opened_index
from service.indexes.pool import closing
from service.inference.pinecone_reranker import (
    MAX_DOCUMENTS,
    PineconeReranker,
    check_model,
    reranker_pool,
)
from service.settings import Settings


class PineconeBackend:
    """Indexes and reranker at Pinecone."""

    reranks_by_default = True

    def __init__(self, settings: Settings, api_key: str, open_lane: OpenLane) -> None:
        check_model(settings.pinecone_rerank_model)
        self.max_reranked = MAX_DOCUMENTS[settings.pinecone_rerank_model]
        if settings.pinecone_top_k > self.max_reranked:
            raise StartupFailed(
                f"PINECONE_TOP_K: {settings.pinecone_top_k} is more than "
                f"{settings.pinecone_rerank_model} can rerank ({self.max_reranked})"
            )
        self._settings = settings
        self._api_key = api_key
        self._open_lane = open_lane

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenBackend]:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(settings.startup_timeout_s):
                    dense = await stack.enter_async_context(self._opened_index("dense"))
                    sparse = await stack.enter_async_context(self._opened_index("sparse"))
            except TimeoutError:
                raise StartupFailed(
                    f"The indexes did not answer within STARTUP_TIMEOUT_S "
                    f"({settings.startup_timeout_s:g} s); check the hosts and the network"
                ) from None
            lanes = reranker_pool(
                self._api_key,
                settings.pinecone_controller_host,
                settings.pinecone_lanes,
                settings.pinecone_lane_calls,
            )
            await stack.enter_async_context(closing(lanes))
            yield OpenBackend(
                dense,
                sparse,
                PineconeReranker(settings.pinecone_rerank_model, lanes),
                settings.pinecone_text_field,
                f"{dense.host} {sparse.host}",
            )

    def _opened_index(self, kind: Kind) -> contextlib.AbstractAsyncContextManager[Index]:
        return opened_index(
            _spec(self._settings, kind),
            api_key=self._api_key,
            controller_host=self._settings.pinecone_controller_host,
            lanes=self._settings.pinecone_lanes,
            calls=self._settings.pinecone_lane_calls,
            open_lane=self._open_lane,
        )


def _spec(settings: Settings, kind: Kind) -> IndexSpec:
    dense = kind == "dense"
    return IndexSpec(
        kind=kind,
        host=settings.pinecone_dense_index_host if dense else settings.pinecone_sparse_index_host,
        name=settings.pinecone_dense_index if dense else settings.pinecone_sparse_index,
        dialect=settings.pinecone_dialect,
        field=settings.pinecone_dense_field if dense else settings.pinecone_sparse_field,
        text_field=settings.pinecone_text_field,
        sparse_clause=settings.pinecone_sparse_clause,
    )
