"""Pinecone's hosted rerankers, over lanes of `AsyncPinecone`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from pinecone import AsyncPinecone

from service.errors import StartupFailed
from service.indexes.pinecone import NO_TIMEOUT, SOURCE_TAG
from service.indexes.pool import LanePool, closing
from service.indexes.reads import HedgedReads
from service.indexes.transport import MakeTransport, PoolTransport, pooled_http_client
from service.inference.reranker import RerankResult
from service.settings import Settings

MAX_CALL_S = 30.0  # callers with less time cancel the call

MAX_DOCUMENTS = {"cohere-rerank-3.5": 200, "bge-reranker-v2-m3": 100, "pinecone-rerank-v0": 100}


class PineconeReranker:
    """Reranks through `AsyncPinecone.inference`."""

    def __init__(self, model: str, pool: LanePool[AsyncPinecone]) -> None:
        self.model = model
        self.max_documents = max_documents(model)
        self.reads = HedgedReads(pool)

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        async def run(client: AsyncPinecone) -> RerankResult:
            result = await client.inference.rerank(
                model=self.model,
                query=query,
                documents=[{"text": text} for text in documents],
                rank_fields=["text"],
                return_documents=False,
            )
            order = [(ranked.index, float(ranked.score)) for ranked in result.data]
            if sorted(index for index, _ in order) != list(range(len(documents))):
                raise ValueError("the reranker did not rank each document once")
            return RerankResult(order, result.usage.rerank_units)

        result, tries = await self.reads.call(run, MAX_CALL_S)
        return replace(result, tries=tries)


def max_documents(model: str) -> int:
    """The largest number of documents per call; raises `StartupFailed` for an unknown model."""
    if model not in MAX_DOCUMENTS:
        known = ", ".join(MAX_DOCUMENTS)
        raise StartupFailed(f"PINECONE_RERANK_MODEL: {model!r} is not known; use one of {known}")
    return MAX_DOCUMENTS[model]


@contextlib.asynccontextmanager
async def opened_reranker(
    settings: Settings, api_key: str, make_transport: MakeTransport = PoolTransport
) -> AsyncIterator[PineconeReranker]:
    """Make lanes to the inference API, which connect on the first call; close them at the end."""
    calls = settings.pinecone_lane_calls

    def open_client() -> AsyncPinecone:
        host = settings.pinecone_controller_host
        client = AsyncPinecone(api_key, host=host, source_tag=SOURCE_TAG, timeout=NO_TIMEOUT)
        http = client.inference._http
        client.inference._http = pooled_http_client(http, calls, make_transport)
        return client

    lanes = LanePool("the reranker", open_client, lanes=settings.pinecone_lanes, calls=calls)
    async with closing(lanes):
        yield PineconeReranker(settings.pinecone_rerank_model, lanes)
