"""Where an app's indexes and its reranker come from: Pinecone, or the engine in the process.

Both are opened and closed as one; above this file nobody can tell them apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from service.embedded.client import EmbeddedAsyncIndex
from service.embedded.engine import opened_index
from service.embedded.schema import Schema, Text
from service.errors import StartupFailed
from service.indexes.dialect import DocumentsDialect
from service.indexes.pinecone import IndexSpec, Kind, OpenLane, open_lane
from service.indexes.pool import Pool, opened
from service.indexes.port import AsyncIndexPort
from service.indexes.registry import Index, Registry
from service.inference.pinecone import MAX_DOCUMENTS, PineconeReranker, check_model, reranker_pool
from service.inference.port import Reranker
from service.inference.wordllama import WordLlamaEmbedder
from service.settings import Settings

logger = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent / "samples" / "records.jsonl"
# What measured best for wordllama beside BM25 (docs/decisions/0007).
LEXICAL_WEIGHT = 0.55
CANDIDATES = 50

INDEX_NAME = "records"
EMBEDDED_CALLS = 256  # searches of the embedded engine at once; the rest waits its turn


@dataclass(frozen=True, slots=True)
class Opened:
    """What a search needs, open."""

    dense: Index
    sparse: Index
    reranker: Reranker | None
    text_field: str
    lexical_weight: float = 0.5
    candidates: int = 0


class Sources(Protocol):
    """Opens what a search needs. Whatever can be known to be wrong before that is said at once."""

    @property
    def max_reranked(self) -> int:
        """How many results can be reranked; 0 where there is no reranker."""
        ...

    def opened(self) -> contextlib.AbstractAsyncContextManager[Opened]: ...


def sources_for(settings: Settings, open_lane: OpenLane = open_lane) -> Sources:
    """Pinecone where it is configured, the embedded engine otherwise."""
    if settings.pinecone_api_key is None:
        return EmbeddedSources(settings)
    return PineconeSources(settings, settings.pinecone_api_key.get_secret_value(), open_lane)


class PineconeSources:
    """A registry of AsyncIndex pools, and Pinecone's hosted reranker."""

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
        self._registry = Registry(
            [_spec(settings, "dense"), _spec(settings, "sparse")],
            api_key=api_key,
            controller_host=settings.pinecone_controller_host,
            lanes=settings.pinecone_lanes,
            calls=settings.pinecone_lane_calls,
            open_lane=open_lane,
        )

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(settings.startup_timeout_s):
                    indexes = await stack.enter_async_context(self._registry.opened())
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
            await stack.enter_async_context(opened(lanes))
            reranker = PineconeReranker(settings.pinecone_rerank_model, lanes)
            yield Opened(
                indexes["dense"], indexes["sparse"], reranker, settings.pinecone_text_field
            )


class EmbeddedSources:
    """One index of the embedded engine, asked by meaning and by words."""

    max_reranked = 0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        settings = self._settings
        field = settings.pinecone_text_field
        embedder = await asyncio.to_thread(WordLlamaEmbedder)
        schema = Schema({field: Text(embed=True, words=True)})
        async with opened_index(Path(settings.data_dir), INDEX_NAME, schema, embedder) as index:
            if settings.load_samples:
                await _load_samples(index, settings)
            yield Opened(
                _embedded("dense", index, DocumentsDialect("embed", field)),
                _embedded("sparse", index, DocumentsDialect("text", field)),
                reranker=None,
                text_field=field,
                lexical_weight=LEXICAL_WEIGHT,
                candidates=CANDIDATES,
            )


def _embedded(kind: Kind, index: EmbeddedAsyncIndex, dialect: DocumentsDialect) -> Index:
    """One way of asking the one index. The pool has nothing of its own to close."""
    pool = Pool[AsyncIndexPort](f"the {kind} index", lambda: index, lanes=1, calls=EMBEDDED_CALLS)
    return Index(kind, str(index.embedded.folder), dialect, pool)


async def _load_samples(index: EmbeddedAsyncIndex, settings: Settings) -> None:
    """Into an index that is empty, so that there is something to search."""
    stats = await index.describe_index_stats()
    if stats.total_vector_count:
        return
    records = [orjson.loads(line) for line in SAMPLES.read_bytes().splitlines()]
    field = settings.pinecone_text_field
    named = [{field if name == "chunk_text" else name: r[name] for name in r} for r in records]
    await index.documents.upsert(namespace=settings.pinecone_namespace, documents=named)
    await index.embedded.show()
    logger.info("loaded %d sample records into %s", len(named), index.embedded.folder)


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
