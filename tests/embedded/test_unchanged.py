"""A document that is stored already is neither embedded nor written again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from service.embedded.data_directory import opened_index
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.schema import Schema, TextField
from service.embedded.storage.operations import Delete
from service.indexes.records import WriteCounts
from service.inference.embedder import CorpusStatistics
from tests.campaigns.model import EMBEDDER

SCHEMA = Schema({"body": TextField(embed=True, full_text=True)})


class RecordingEmbedder:
    """An embedder that records the texts, and calls `on_embed` before it embeds."""

    name, dimension = EMBEDDER.name, EMBEDDER.dimension

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.on_embed: Callable[[], None] = lambda: None

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        self.texts += texts
        self.on_embed()
        return EMBEDDER.embed(texts)

    def embed_query(self, text: str, corpus: CorpusStatistics) -> np.ndarray[Any, Any]:
        return EMBEDDER.embed_query(text, corpus)

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        EMBEDDER.count(texts, corpus, sign)


@pytest.fixture
def embedder() -> RecordingEmbedder:
    return RecordingEmbedder()


@pytest.fixture
async def index(tmp_path: Path, embedder: RecordingEmbedder) -> AsyncIterator[EmbeddedIndex]:
    async with opened_index(tmp_path, "records", SCHEMA, embedder) as opened:
        yield opened


def pending(id: str, body: str) -> PendingDocument:
    return PendingDocument(id, {"body": body}, json=orjson.dumps({"body": body}))


async def test_unchanged_documents_keep_version_and_embedding(
    index: EmbeddedIndex, embedder: RecordingEmbedder
) -> None:
    documents = [pending("a", "one"), pending("b", "two")]
    assert await index.upsert("n", documents) == WriteCounts(created=2)
    before = index.store.last_seq()
    embedder.texts.clear()
    assert await index.upsert("n", documents) == WriteCounts(unchanged=2)
    assert (index.store.last_seq(), embedder.texts) == (before, [])
    assert await index.upsert("n", [*documents, pending("c", "three")]) == WriteCounts(
        created=1, unchanged=2
    )
    assert (index.store.last_seq(), embedder.texts) == (before + 1, ["three"])


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        (b'{"body":"one","n":1,"m":1.0}', True),
        (b'{"m":1.0,"n":1,"body":"one"}', True),
        (b'{"body":"one","n":1.0,"m":1}', False),
        (b'{"body":"two","n":1,"m":1.0}', False),
        (b'{"body":"one","n":1}', False),
    ],
)
async def test_document_is_unchanged_in_any_order_of_its_fields(
    index: EmbeddedIndex, again: bytes, is_same: bool
) -> None:
    first = b'{"body":"one","n":1,"m":1.0}'
    await index.upsert("n", [PendingDocument("a", orjson.loads(first), json=first)])
    counted = await index.upsert("n", [PendingDocument("a", orjson.loads(again), json=again)])
    assert counted == (WriteCounts(unchanged=1) if is_same else WriteCounts(replaced=1))


async def test_document_deleted_during_upsert_is_written_again(
    index: EmbeddedIndex, embedder: RecordingEmbedder
) -> None:
    """The batch takes effect at its COMMIT, where "a" is not stored any more."""
    await index.upsert("n", [pending("a", "one")])
    deletions = [Delete("n", "a")]
    embedder.on_embed = lambda: index.store.write_sync([deletions.pop()] if deletions else [])
    counted = await index.upsert("n", [pending("a", "one"), pending("b", "two")])
    assert counted == WriteCounts(created=2)
    assert {each.id for each in index.store.documents_by_id("n", ["a", "b"])} == {"a", "b"}
