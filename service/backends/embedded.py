"""Sources of the embedded backend: one index in the process, asked by meaning and by words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson

from service.backends.protocol import Opened
from service.embedded.client import EmbeddedAsyncIndex
from service.embedded.data_directory import opened_index
from service.embedded.index import EmbeddedIndex
from service.embedded.schema import LANGUAGES, Schema, TextField
from service.errors import StartupFailed
from service.indexes.documents_dialect import DocumentsDialect
from service.indexes.index import Index, Kind
from service.indexes.pool import LanePool
from service.indexes.port import AsyncIndexPort
from service.indexes.reads import DirectReads
from service.inference.models import max_reranked_documents, open_embedder, open_reranker
from service.inference.reranker import Reranker
from service.settings import Settings

logger = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent.parent / "samples" / "records.jsonl"
# What measured best for wordllama beside BM25 (docs/decisions/0007).
LEXICAL_WEIGHT = 0.55
CANDIDATES = 50
CANDIDATES_ALONE = 30  # to page through; each ten more cost a twentieth of a search

UPSERT = 500  # records in one write: more would keep the event loop for too long

INDEX_NAME = "records"
EMBEDDED_CALLS = 256  # searches of the embedded engine at once; the rest waits its turn


class EmbeddedSources:
    """One index of the embedded engine, as a dense and as a sparse one."""

    reranks_unasked = False  # it takes longer than everything else together

    def __init__(self, settings: Settings) -> None:
        self.max_reranked = max_reranked_documents(settings.reranker)
        self._settings = settings
        self._schema = schema_of(settings)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        settings = self._settings
        embedder = await asyncio.to_thread(open_embedder, settings.embedder)
        folder = Path(settings.data_dir)
        async with opened_index(folder, INDEX_NAME, self._schema, embedder) as index:
            if settings.load_samples:
                await _load_samples(index, settings)
            field = settings.pinecone_text_field
            corpus = index.embedded.corpora[field]
            language = LANGUAGES[settings.text_language]
            reranker = await asyncio.to_thread(
                open_reranker, settings.reranker, embedder, lambda: corpus.corpus, language
            )
            yield _opened(index, field, reranker)


def schema_of(settings: Settings) -> Schema:
    """One text, found both ways."""
    text = TextField(embed=True, full_text=True, language=settings.text_language)
    try:
        return Schema({settings.pinecone_text_field: text})
    except ValueError as exc:
        raise StartupFailed(f"PINECONE_TEXT_FIELD, TEXT_LANGUAGE: {exc}") from exc


def _opened(client: EmbeddedAsyncIndex, field: str, reranker: Reranker | None) -> Opened:
    index = client.embedded
    assert index.lexical is not None, "the schema has words"  # noqa: S101
    words = index.lexical
    meaning = DocumentsDialect("embed", field, max_records=UPSERT)
    forgiving = DocumentsDialect("text", field, supports_typos=True, max_records=UPSERT)
    return Opened(
        _index("dense", client, meaning, index.dense_rebuild_progress),
        _index("sparse", client, forgiving, index.lexical_rebuild_progress),
        reranker=reranker,
        text_field=field,
        place=f"{platform.node()}:{index.folder.absolute()}",
        lexical_weight=LEXICAL_WEIGHT,
        candidates=CANDIDATES,
        candidates_alone=CANDIDATES_ALONE,
        highlighter=lambda query, text: words.lexical.highlights(query, text, field),
        show=index.wait_until_visible,
    )


def _index(
    kind: Kind,
    client: EmbeddedAsyncIndex,
    dialect: DocumentsDialect,
    rebuilding: Callable[[], float | None],
) -> Index:
    """One way of asking the one index. The pool has nothing of its own to close."""
    pool = LanePool[AsyncIndexPort](
        f"the {kind} index", lambda: client, lanes=1, calls=EMBEDDED_CALLS
    )
    return Index(kind, str(client.embedded.folder), dialect, pool, DirectReads(pool), rebuilding)


async def _load_samples(client: EmbeddedAsyncIndex, settings: Settings) -> None:
    """Into an index that is empty, so that there is something to search."""
    index: EmbeddedIndex = client.embedded
    if any((await index.read(lambda store: store.namespace_counts())).values()):
        return
    records = [orjson.loads(line) for line in SAMPLES.read_bytes().splitlines()]
    field = settings.pinecone_text_field
    named = [{field if name == "chunk_text" else name: r[name] for name in r} for r in records]
    await client.documents.upsert(namespace=settings.pinecone_namespace, documents=named)
    await index.wait_until_visible()
    logger.info("loaded %d sample records into %s", len(named), index.folder)
