"""The text field of an embedded index behind the protocol that every backend implements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.backends.embedded_index import EmbeddedTextIndex
from service.embedded.index import EmbeddedIndex
from service.embedded.schema import Schema, TextField
from service.errors import DeadlineExceeded, StorageFull, UpstreamRefused, UpstreamUnavailable
from service.indexes.index import Index
from service.indexes.queries import IndexQuery
from service.indexes.records import EncodedRecord, Selection
from tests.embedded.pinecone_api.calls import TinyEmbedder

FIELD, NAMESPACE, TIMEOUT_S = "chunk_text", "here", 10.0
RECORDS = [
    {"_id": "pie", "chunk_text": "apple pie", "year": 1990, "tags": ["sweet", "oven"]},
    {"_id": "tart", "chunk_text": "apple tart", "year": 2000},
    {"_id": "cake", "chunk_text": "plum cake", "year": 2010},
]


def encoded(record: dict[str, Any]) -> EncodedRecord:
    fields = {name: value for name, value in record.items() if name != "_id"}
    return EncodedRecord(record["_id"], fields, orjson.dumps(fields))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedIndex]:
    schema = Schema({FIELD: TextField(embed=True, full_text=True)})
    index = EmbeddedIndex(tmp_path, schema, TinyEmbedder())
    await asyncio.to_thread(index.open)
    try:
        await EmbeddedTextIndex("dense", index, FIELD).upsert(
            NAMESPACE, [encoded(record) for record in RECORDS], TIMEOUT_S
        )
        await index.wait_until_visible()
        yield index
    finally:
        await asyncio.to_thread(index.close)


@pytest.fixture(params=["dense", "sparse"])
def index(engine: EmbeddedIndex, request: pytest.FixtureRequest) -> Index:
    return EmbeddedTextIndex(request.param, engine, FIELD)


async def ids(index: Index, text: str, **options: Any) -> list[str]:
    query = IndexQuery(text, options.pop("top_k", 5), NAMESPACE, **options)
    return [hit.id for hit in (await index.search(query, None, TIMEOUT_S)).hits]


async def test_search_returns_the_best_hits_with_their_requested_fields(index: Index) -> None:
    query = IndexQuery("plum cake", 1, NAMESPACE, fields=("year", "none"))
    response = await index.search(query, None, TIMEOUT_S)
    (hit,) = response.hits
    assert (hit.id, hit.fields) == ("cake", {"year": 2010})
    assert (response.usage, response.attempts) == ({"read_units": 1}, 1)
    everything = await index.search(IndexQuery("plum cake", 1, NAMESPACE), None, TIMEOUT_S)
    assert everything.hits[0].fields == {"chunk_text": "plum cake", "year": 2010}


async def test_search_applies_the_filter_and_the_match_terms(index: Index) -> None:
    assert await ids(index, "apple", filter={"year": {"$gt": 1995}}, top_k=1) == ["tart"]
    assert await ids(index, "apple", match_terms=("pie",)) == ["pie"]
    both = {"filter": {"year": {"$gt": 1995}}, "match_terms": ("pie",)}
    assert await ids(index, "apple", **both) == []


async def test_only_the_sparse_index_matches_misspelled_words(engine: EmbeddedIndex) -> None:
    sparse = EmbeddedTextIndex("sparse", engine, FIELD)
    assert sparse.supports_typos
    assert not EmbeddedTextIndex("dense", engine, FIELD).supports_typos
    assert await ids(sparse, "aple") == []
    assert sorted(await ids(sparse, "aple", typos=True)) == ["pie", "tart"]


async def test_upsert_stores_the_encoded_json_as_it_is(engine: EmbeddedIndex, index: Index) -> None:
    json = b'{"chunk_text" : "spaced  out", "n": 1}'
    await index.upsert(NAMESPACE, [EncodedRecord("x", orjson.loads(json), json)], TIMEOUT_S)
    rows = await engine.read(lambda store: store._rows("SELECT fields FROM documents WHERE id='x'"))
    assert rows == [(json,)]
    assert await index.fetch(NAMESPACE, ["x", "none"], TIMEOUT_S) == {
        "x": {"_id": "x", "chunk_text": "spaced  out", "n": 1}
    }


async def test_pages_of_ids_and_of_a_filter_end_without_a_cursor(index: Index) -> None:
    first = await index.list_ids(NAMESPACE, None, 2, None, TIMEOUT_S)
    assert first.ids == ["cake", "pie"]
    second = await index.list_ids(NAMESPACE, None, 2, first.cursor, TIMEOUT_S)
    assert (second.ids, second.cursor) == (["tart"], None)
    assert (await index.list_ids(NAMESPACE, "t", 2, None, TIMEOUT_S)).ids == ["tart"]
    filter = {"year": {"$gte": 2000}}
    page = await index.fetch_where(NAMESPACE, filter, 1, None, TIMEOUT_S)
    assert [record["_id"] for record in page.records] == ["cake"]
    last = await index.fetch_where(NAMESPACE, filter, 1, page.cursor, TIMEOUT_S)
    assert ([record["_id"] for record in last.records], last.cursor) == (["tart"], None)
    with pytest.raises(UpstreamRefused, match="pagination token"):
        await index.list_ids(NAMESPACE, None, 2, "no token", TIMEOUT_S)


async def test_delete_reports_its_count(index: Index) -> None:
    filter = {"year": {"$lt": 1995}}
    assert await index.delete(NAMESPACE, Selection(filter=filter), TIMEOUT_S) == 1
    assert await index.delete(NAMESPACE, Selection(ids=("tart", "none")), TIMEOUT_S) == 1
    assert (await index.stats(TIMEOUT_S)).namespaces == {NAMESPACE: 1}
    assert await index.delete(NAMESPACE, Selection(all=True), TIMEOUT_S) == 1
    assert (await index.stats(TIMEOUT_S)).records == 0
    by_words = Selection(filter={FIELD: {"$match_all": "pie"}})
    with pytest.raises(UpstreamRefused, match="can't select"):
        await index.delete(NAMESPACE, by_words, TIMEOUT_S)


async def test_filter_on_the_text_is_refused_with_the_name_of_the_index(index: Index) -> None:
    with pytest.raises(
        UpstreamRefused, match=f"^the {index.name} index: 'chunk_text' is a text field"
    ):
        await ids(index, "apple", filter={FIELD: "apple pie"})


async def test_closed_store_is_unavailable(engine: EmbeddedIndex, index: Index) -> None:
    engine.store.close()
    with pytest.raises(UpstreamUnavailable, match="can't be used"):
        await index.upsert(NAMESPACE, [encoded(RECORDS[0])], TIMEOUT_S)


async def test_full_disk_is_reported_as_such(engine: EmbeddedIndex, index: Index) -> None:
    writing = engine.store._writer._connection
    assert writing is not None
    writing.execute("PRAGMA max_page_count = 1")
    large = [encoded({"_id": f"{n}", "chunk_text": "x" * 9_000}) for n in range(50)]
    with pytest.raises(StorageFull, match="no space left"):
        await index.upsert(NAMESPACE, large, TIMEOUT_S)


async def test_operation_ends_at_its_timeout(index: Index) -> None:
    with pytest.raises(DeadlineExceeded, match=f"the {index.name} index did not answer"):
        await index.search(IndexQuery("apple", 1, NAMESPACE), None, 0.0)
