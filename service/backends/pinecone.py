"""The Pinecone backend: two indexes, and a hosted reranker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.backends.protocol import OpenBackend
from service.errors import StartupFailed
from service.indexes.pinecone import OpenLane, opened_index
from service.indexes.transport import MakeTransport
from service.inference.pinecone_reranker import max_documents, opened_reranker
from service.settings import Settings


class PineconeBackend:
    """Indexes and reranker at Pinecone."""

    reranks_by_default = True

    def __init__(
        self, settings: Settings, api_key: str, open_lane: OpenLane, make_transport: MakeTransport
    ) -> None:
        self.max_reranked = max_documents(settings.pinecone_rerank_model)
        if settings.pinecone_top_k > self.max_reranked:
            raise StartupFailed(
                f"PINECONE_TOP_K: {settings.pinecone_top_k} is more than "
                f"{settings.pinecone_rerank_model} can rerank ({self.max_reranked})"
            )
        self._settings = settings
        self._api_key = api_key
        self._open_lane = open_lane
        self._make_transport = make_transport

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenBackend]:
        settings, api_key, open_lane = self._settings, self._api_key, self._open_lane
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(settings.startup_timeout_s):
                    dense = await stack.enter_async_context(
                        opened_index("dense", settings, api_key, open_lane)
                    )
                    sparse = await stack.enter_async_context(
                        opened_index("sparse", settings, api_key, open_lane)
                    )
            except TimeoutError:
                raise StartupFailed(
                    f"The indexes did not answer within STARTUP_TIMEOUT_S "
                    f"({settings.startup_timeout_s:g} s); check the hosts and the network"
                ) from None
            reranker = await stack.enter_async_context(
                opened_reranker(settings, api_key, self._make_transport)
            )
            yield OpenBackend(
                dense,
                sparse,
                reranker,
                settings.pinecone_text_field,
                f"{dense.host} {sparse.host}",
                upstreams={
                    "dense": dense.reads,
                    "sparse": sparse.reads,
                    "reranker": reranker.reads,
                },
            )
