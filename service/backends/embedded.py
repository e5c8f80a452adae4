"""The embedded backend: one index of the engine, searched by meaning and by words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from service.backends.embedded_index import EmbeddedTextIndex
from service.backends.protocol import OpenBackend
from service.disk_space import DiskFull
from service.embedded.data_directory import opened_index
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.schema import LANGUAGES, Schema, TextField
from service.errors import StartupFailed
from service.inference.models import max_reranked_documents, open_embedder, open_reranker
from service.inference.reranker import Reranker
from service.settings import Settings

logger = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent.parent / "samples" / "records.jsonl"
INDEX_NAME = "records"
# The best results with wordllama beside BM25 (docs/decisions/0007).
LEXICAL_WEIGHT = 0.55
CANDIDATES = 50
CANDIDATES_ALONE = 30  # ten more cost a twentieth of a search


class EmbeddedBackend:
    """The engine in this process."""

    reranks_by_default = False  # the reranker takes longer than the rest of a search

    def __init__(self, settings: Settings) -> None:
        self.max_reranked = max_reranked_documents(settings.reranker)
        self._settings = settings
        self._schema = schema_of(settings)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenBackend]:
        settings = self._settings
        embedder = await asyncio.to_thread(open_embedder, settings.embedder)
        folder = Path(settings.data_dir)
        async with opened_index(folder, INDEX_NAME, self._schema, embedder) as index:
            if settings.load_samples:
                await _load_samples(index, settings)
            corpus = index.views.corpora[settings.pinecone_text_field]
            language = LANGUAGES[settings.text_language]
            reranker = await asyncio.to_thread(
                open_reranker, settings.reranker, embedder, lambda: corpus.corpus, language
            )
            yield _open_backend(index, settings.pinecone_text_field, reranker)


def schema_of(settings: Settings) -> Schema:
    """The schema: one text field, searched in both ways."""
    text = TextField(embed=True, full_text=True, language=settings.text_language)
    try:
        return Schema({settings.pinecone_text_field: text})
    except ValueError as exc:
        raise StartupFailed(f"PINECONE_TEXT_FIELD, TEXT_LANGUAGE: {exc}") from exc


def _open_backend(index: EmbeddedIndex, field: str, reranker: Reranker | None) -> OpenBackend:
    assert index.views.lexical is not None, "the schema has a full-text field"  # noqa: S101
    lexical = index.views.lexical
    return OpenBackend(
        EmbeddedTextIndex("dense", index, field),
        EmbeddedTextIndex("sparse", index, field),
        reranker=reranker,
        text_field=field,
        location=f"{platform.node()}:{index.folder.absolute()}",
        lexical_weight=LEXICAL_WEIGHT,
        candidates=CANDIDATES,
        candidates_alone=CANDIDATES_ALONE,
        highlighter=lambda query, typos: lexical.index.highlighter(query, field, typos=typos),
        wait_until_visible=index.wait_until_visible,
        engine_state=index.state,
    )


async def _load_samples(index: EmbeddedIndex, settings: Settings) -> None:
    """Fill an empty index, so that there is something to search."""
    if any((await index.read(lambda store: store.namespace_counts())).values()):
        return
    field = settings.pinecone_text_field
    records = [orjson.loads(line) for line in SAMPLES.read_bytes().splitlines()]
    documents = []
    for record in records:
        fields = {field if name == "chunk_text" else name: record[name] for name in record}
        documents.append(PendingDocument(fields.pop("_id"), fields))
    try:
        await index.upsert(settings.pinecone_namespace, documents)
    except DiskFull as exc:
        logger.warning("the sample records are not loaded: %s", exc)
        return
    await index.wait_until_visible()
    logger.info("loaded %d sample records into %s", len(documents), index.folder)
