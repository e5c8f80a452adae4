"""The embedded index: dense and lexical search, filters, restarts and damaged files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pinecone.errors import ApiError, ServiceError
from tantivy import Document, Index, SchemaBuilder, TextAnalyzerBuilder, Tokenizer

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from service.embedded.schema import Schema, TextField
from service.errors import StartupFailed
from service.inference.static_embedder import wordllama_embedder

EMBEDDER = wordllama_embedder()
SCHEMA = Schema({"chunk_text": TextField(embed=True, full_text=True)})
NS = "__default__"

RECORDS = [
    {"_id": "wool", "chunk_text": "Woollen jumpers felt and shrink in a hot wash", "room": "bath"},
    {"_id": "e18", "chunk_text": "Code E18: the drain pump is blocked", "room": "kitchen"},
    {"_id": "e81", "chunk_text": "Code E81: the door is not closed", "room": "kitchen"},
    {
        "_id": "bread",
        "chunk_text": "Keep bread in a cloth so that it stays soft",
        "room": "kitchen",
    },
]


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[EmbeddedAsyncIndex]:
    async with opened_client(folder, "records", SCHEMA, EMBEDDER) as index:
        yield index


async def search(index: EmbeddedAsyncIndex, clause: str, query: str, **more: Any) -> list[str]:
    given = {"namespace": NS, "top_k": 10, "include_fields": ["*"], **more}
    await index.embedded.wait_until_visible()
    where = {"fields": ["chunk_text"]} if clause == "text" else {"field": "chunk_text"}
    scoring = [{"type": clause, "query": query, **where}]
    response = await index.documents.search(score_by=scoring, **given)
    return [match.id for match in response.matches]


async def words_find(index: EmbeddedAsyncIndex, query: str, expected: list[str]) -> None:
    """Waits until lexical search finds a write."""
    async with asyncio.timeout(60):
        while sorted(await search(index, "text", query)) != sorted(expected):
            await asyncio.sleep(0.02)


async def test_dense_finds_paraphrase_and_lexical_finds_code(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
        assert (await search(index, "embed", "my sweater got too small"))[0] == "wool"
        await words_find(index, "E81", ["e81"])
        assert await search(index, "text", "sweater") == []


async def test_restart_keeps_search_results(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
        await index.documents.upsert(namespace=NS, documents=[{**RECORDS[1], "chunk_text": "E19"}])
        before = await search(index, "embed", "blocked drain")
    async with opened(tmp_path) as index:
        assert await search(index, "embed", "blocked drain") == before
        assert await search(index, "text", "E19") == ["e18"]
        assert await search(index, "text", "E18") == []
        assert (await index.describe_index_stats()).total_vector_count == 4


async def test_search_is_not_crowded_by_old_versions(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for version in range(10):
            changed = [{**record, "version": version} for record in RECORDS]
            await index.documents.upsert(namespace=NS, documents=changed)
        everything = {str(record["_id"]) for record in RECORDS}
        assert set(await search(index, "embed", "the door", top_k=4)) == everything
        await index.embedded.wait_until_visible()
        assert set(await search(index, "text", "code", top_k=4)) == {"e18", "e81"}


async def test_lexical_view_of_an_older_analysis_is_rebuilt(tmp_path: Path) -> None:
    """It lacks the identifiers, so its searches would miss them."""
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
    folder = tmp_path / "records" / "lexical"
    shutil.rmtree(folder)
    folder.mkdir()
    schema = SchemaBuilder()
    schema.add_integer_field("docno", indexed=True, fast=True)
    schema.add_integer_field("applied", fast=True)
    schema.add_text_field("text0", tokenizer_name='[2, "english", "chunk_text"]')
    older = Index(schema.build(), str(folder))
    words = TextAnalyzerBuilder(Tokenizer.simple()).build()
    older.register_tokenizer('[2, "english", "chunk_text"]', words)
    writer = older.writer(15_000_000, 1)
    marker = Document()
    marker.add_integer("docno", 0)
    marker.add_integer("applied", len(RECORDS))
    writer.add_document(marker)
    writer.commit()
    writer.wait_merging_threads()
    async with opened(tmp_path) as index:
        await words_find(index, "e18", ["e18"])


@pytest.mark.parametrize("lost", ["dense", "lexical", "both", "damaged"])
async def test_lost_or_damaged_view_is_rebuilt(tmp_path: Path, lost: str) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
    folder = tmp_path / "records"
    for view in ("dense", "lexical"):
        if lost in {view, "both"}:
            shutil.rmtree(folder / view)
        if lost == "damaged":
            for file in [each for each in (folder / view).rglob("*") if each.is_file()]:
                file.write_bytes(b"damaged")
    async with opened(tmp_path) as index:
        assert (await search(index, "embed", "my sweater got too small"))[0] == "wool"
        assert await search(index, "text", "bread cloth") == ["bread"]


async def test_filters_and_namespaces_restrict_dense_and_lexical_search(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace="a", documents=RECORDS)
        await index.documents.upsert(namespace="b", documents=RECORDS[:1])
        await words_find(index, "nothing at all", [])
        kitchen = {"room": "kitchen"}
        found = await search(index, "embed", "laundry", namespace="a", filter=kitchen)
        assert set(found) == {"e18", "e81", "bread"}
        assert await search(index, "embed", "code", namespace="b") == ["wool"]
        assert await search(index, "embed", "code", namespace="nowhere") == []
        stats = await index.describe_index_stats()
        assert {name: each.vector_count for name, each in stats.namespaces.items()} == {
            "a": 4,
            "b": 1,
        }


async def test_search_returns_requested_fields(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS[:1])
        await index.embedded.wait_until_visible()
        clause = [{"type": "embed", "field": "chunk_text", "query": "wool"}]
        for wanted, keys in (
            (None, set()),
            (["room"], {"room"}),
            (["*"], {"room", "chunk_text"}),
        ):
            response = await index.documents.search(
                namespace=NS, score_by=clause, top_k=1, include_fields=wanted
            )
            assert response.matches[0].to_dict().keys() == {"_id", "_score"} | keys
        records = await index.search(namespace=NS, top_k=1, inputs={"text": "wool"})
        assert records.result.hits[0].fields["room"] == "bath"


@pytest.mark.parametrize("filter", [{"chunk_text": "x"}, {"room": {"$match_all": "x"}}])
async def test_invalid_filter_is_rejected(tmp_path: Path, filter: Any) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
        with pytest.raises(ApiError) as refused:
            await search(index, "embed", "x", filter=filter)
        assert refused.value.status_code == 400


async def test_text_without_words_is_stored_but_not_found_by_dense_search(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(
            namespace=NS, documents=[{"_id": "blank", "chunk_text": " "}, *RECORDS]
        )
        assert "blank" not in await search(index, "embed", "anything")
        assert (await index.describe_index_stats()).total_vector_count == 5


async def test_database_error_is_raised_as_service_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
        with contextlib.closing(sqlite3.connect(tmp_path / "records" / "records.db")) as other:
            other.execute("DROP TABLE documents")
        scoring = [{"type": "embed", "field": "chunk_text", "query": "anything"}]
        with pytest.raises(ServiceError):
            await index.documents.search(namespace=NS, score_by=scoring, top_k=1)
        with pytest.raises(ServiceError):
            await index.documents.upsert(namespace=NS, documents=RECORDS)


async def test_second_owner_fails_with_pid_of_first(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StartupFailed, match=rf"DATA_DIR.*process {os.getpid()}"):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):  # and when it has gone, there is nothing to clean up
        pass


async def test_damaged_database_fails_with_one_sentence(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS)
    for file in (tmp_path / "records").glob("records.db*"):
        file.write_bytes(b"this was a database once " * 1000)
    with pytest.raises(StartupFailed, match=r"DATA_DIR.*can't be opened"):
        async with opened(tmp_path):
            pass


async def test_view_catches_up_at_next_start(tmp_path: Path) -> None:
    """The write is committed and acknowledged although a view failed to apply it."""
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=NS, documents=RECORDS[:1])
    async with opened(tmp_path) as index:
        lexical = index.embedded.views.lexical
        assert lexical is not None
        lexical.close()  # as if it had failed
        await index.documents.upsert(namespace=NS, documents=RECORDS[1:])
    async with opened(tmp_path) as index:
        assert len(await search(index, "embed", "anything")) == len(RECORDS)
        assert await search(index, "text", "E81") == ["e81"]


async def test_vectors_of_other_embedder_are_not_mixed(tmp_path: Path) -> None:
    other = wordllama_embedder()
    other.name = "other-256"
    async with opened(tmp_path):
        pass
    with pytest.raises(StartupFailed, match=r"wordllama-256.*other-256"):
        async with opened_client(tmp_path, "records", SCHEMA, other):
            pass


async def test_unusable_directory_error_names_setting(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupFailed, match="DATA_DIR"):
        async with opened(tmp_path / "file" / "below"):
            pass
