"""Namespaces: created explicitly or by a record, counted, listed and deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pinecone.errors import ApiError, ConflictError, NotFoundError

from tests.embedded.pinecone_api.calls import WORDS, opened


async def test_namespace_is_created_explicitly_or_by_upsert(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        made = await index.create_namespace(
            name="made", schema={"fields": {"year": {"filterable": True}}}
        )
        assert (made.name, made.record_count) == ("made", 0)
        await index.upsert_records(namespace="wrote", records=[{"_id": "a", "chunk_text": "x"}])
        assert (await index.describe_namespace(name="wrote")).record_count == 1
        assert (await index.describe_namespace(name="made")).record_count == 0
        for name in ("made", "wrote"):
            with pytest.raises(ConflictError, match="exists already"):
                await index.create_namespace(name=name)
        with pytest.raises(NotFoundError, match="no namespace 'other'"):
            await index.describe_namespace(name="other")
        with pytest.raises(NotFoundError):
            await index.delete_namespace(name="other")


async def test_delete_namespace_deletes_its_records(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        for name in ("keep", "drop"):
            await index.create_namespace(name=name)
            await index.upsert_records(namespace=name, records=[{"_id": "a", "chunk_text": "x"}])
        await index.delete(delete_all=True, namespace="keep")
        await index.delete_namespace(name="drop")
        assert [
            (each.name, each.record_count)
            async for page in index.list_namespaces()
            for each in page
        ] == [("keep", 0)]
        assert (await index.fetch(ids=["a"], namespace="drop")).vectors == {}
        await index.create_namespace(name="drop")


async def test_list_namespaces_pages(tmp_path: Path) -> None:
    names = sorted(f"{kind}{number}" for kind in ("a", "b") for number in range(7))
    async with opened(tmp_path, WORDS) as index:
        for name in names:
            await index.create_namespace(name=name)
        pages = [page async for page in index.list_namespaces(limit=5)]
        assert [each.name for page in pages for each in page] == names
        assert [page.total_count for page in pages] == [14, 14, 14]
        some = await index.list_namespaces_paginated(prefix="b", limit=3)
        assert ([each.name for each in some], some.total_count) == (["b0", "b1", "b2"], 7)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a b", "100%", "?x=1#y", "%2F", "\n", "\x7f"])
async def test_namespace_name_may_be_any_ascii(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, WORDS) as index:
        await index.create_namespace(name=name)
        await index.upsert_records(namespace="other", records=[{"_id": "o", "chunk_text": "x"}])
        if name.strip():
            await index.upsert_records(namespace=name, records=[{"_id": "a", "chunk_text": "x"}])
            listed = [entry.id async for entry in index.documents.list(namespace=name)]
            assert listed == ["a"]
        await index.delete_namespace(name=name)
        stats = await index.describe_index_stats()
        assert stats.namespaces.keys() == {"other"}


async def test_default_namespace_has_two_names(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        await index.upsert_records(
            namespace="__default__", records=[{"_id": "a", "chunk_text": "x"}]
        )
        assert (await index.fetch(ids=["a"])).vectors.keys() == {"a"}
        assert (await index.describe_index_stats()).namespaces.keys() == {"__default__"}
        with pytest.raises(ApiError, match="ASCII"):
            await index.upsert_records(namespace="é", records=[{"_id": "a", "chunk_text": "x"}])
