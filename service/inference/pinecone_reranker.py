"""Pinecone's hosted rerankers, over lanes of `AsyncPinecone`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pinecone import AsyncPinecone

from service.errors import StartupFailed
from service.indexes.pinecone import NO_TIMEOUT, SOURCE_TAG
from service.indexes.pool import LanePool
from service.indexes.reads import HedgedReads
from service.indexes.transport import pooled_http_client
from service.inference.reranker import RerankResult

MAX_CALL_S = 30.0  # callers with less time cancel the call

MAX_DOCUMENTS = {"cohere-rerank-3.5": 200, "bge-reranker-v2-m3": 100, "pinecone-rerank-v0": 100}


class PineconeReranker:
    """Reranks through `AsyncPinecone.inference`."""

    def __init__(self, model: str, pool: LanePool[AsyncPinecone]) -> None:
        self.model = model
        self.max_documents = MAX_DOCUMENTS[model]
        self._reads = HedgedReads(pool)

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        async def ask(client: AsyncPinecone) -> RerankResult:
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

        asked = await self._reads.call(ask, MAX_CALL_S)
        return replace(asked.value, tries=asked.tries)


def check_model(model: str) -> None:
    """Raise StartupFailed for a model whose limits are not known."""
    if model not in MAX_DOCUMENTS:
        known = ", ".join(MAX_DOCUMENTS)
        raise StartupFailed(f"PINECONE_RERANK_MODEL: {model!r} is not known; use one of {known}")


def reranker_pool(
    api_key: str, controller_host: str | None, lanes: int, calls: int
) -> LanePool[AsyncPinecone]:
    """Create lanes to the inference API, which connect with the first call."""
    opener = partial(_open_client, api_key, controller_host, calls)
    return LanePool("the reranker", opener, lanes=lanes, calls=calls)


def _open_client(api_key: str, controller_host: str | None, connections: int) -> AsyncPinecone:
    client = AsyncPinecone(api_key, host=controller_host, source_tag=SOURCE_TAG, timeout=NO_TIMEOUT)
    client.inference._http = pooled_http_client(client.inference._http, connections)
    return client
