"""The documents API, compared with a dictionary and brute force."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from pinecone import EmbedQuery, QueryStringQuery, SparseEmbedQuery, TextQuery
from pinecone.errors import ApiError

from service.embedded.client import EmbeddedAsyncIndex
from service.embedded.schema import DenseField, Schema, SparseField, TextField
from tests.embedded.pinecone_api.calls import (
    BOTH,
    NS,
    SEVERAL_TEXTS,
    SEVERAL_VECTORS,
    WORDS,
    opened,
)

EVERYTHING = Schema(
    {
        "title": TextField(embed=True, full_text=True),
        "embedding": DenseField(3, "dotproduct"),
        "weights": SparseField(),
    }
)
FRUIT = [
    {
        "_id": f"f{number}",
        "title": title,
        "embedding": [number, 1, 0],
        "weights": {"indices": [number, 100], "values": [1.0, 0.5]},
        "price": number,
    }
    for number, title in enumerate(["apple pie", "apple tart", "plum cake", "pear tree"])
]


async def ids(index: EmbeddedAsyncIndex, *clauses: Any, **more: Any) -> list[str]:
    given = {"namespace": NS, "top_k": 10, **more}
    response = await index.documents.search(score_by=clauses, **given)
    return [match.id for match in response.matches]


async def test_search_supports_each_of_six_clauses(tmp_path: Path) -> None:
    async with opened(tmp_path, EVERYTHING) as index:
        response = await index.documents.upsert(namespace=NS, documents=FRUIT)
        assert response.upserted_count == 4
        await index.embedded.wait_until_visible()
        assert await ids(index, TextQuery(query="apple", fields=["title"])) == ["f0", "f1"]
        assert await ids(index, QueryStringQuery(query="title:tart")) == ["f1"]
        assert (await ids(index, EmbedQuery(query="plum cake", field="title")))[0] == "f2"
        assert await ids(index, SparseEmbedQuery(query="tree", field="title")) == ["f3"]
        dense = {"type": "dense_vector", "field": "embedding", "values": [1, 0, 0]}
        assert await ids(index, dense) == ["f3", "f2", "f1", "f0"]
        sparse = {
            "type": "sparse_vector",
            "field": "weights",
            "sparse_values": {"indices": [2, 100], "values": [1.0, 1.0]},
        }
        assert await ids(index, sparse, top_k=1) == ["f2"]
        both = [
            TextQuery(query="pear", fields=["title"]),
            QueryStringQuery(query='title:"apple tart"'),
        ]
        assert set(await ids(index, *both)) == {"f3", "f1"}


async def test_search_adds_clause_scores_and_counts_repeated_clause_once(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        texts = {"a": "apple pie", "b": "apple", "c": "pie"}
        documents = [{"_id": id, "chunk_text": text} for id, text in texts.items()]
        await index.documents.upsert(namespace=NS, documents=documents)
        await index.embedded.wait_until_visible()

        async def scores(*words: str) -> dict[str, float | None]:
            clauses = [TextQuery(query=word, fields=["chunk_text"]) for word in words]
            found = await index.documents.search(namespace=NS, score_by=clauses, top_k=9)
            return {match.id: match.score for match in found.matches}

        apple, pie = await scores("apple"), await scores("pie")
        both = await scores("apple", "pie")
        assert both["a"] == pytest.approx((apple["a"] or 0) + (pie["a"] or 0), rel=1e-4)
        assert await scores("apple", "apple") == apple


async def test_document_round_trips(tmp_path: Path) -> None:
    numbers = {"large": 2**53 + 1, "huge": 2**63, "small": -(2**63), "real": 0.1, "one": 1.0}
    strange = {"": "no name", "名": "名", "id": "x", "_score": "mine", "tags": ["a"], "yes": True}
    async with opened(tmp_path, EVERYTHING) as index:
        document = {**FRUIT[1], **numbers, **strange}
        await index.documents.upsert(namespace=NS, documents=[document])
        fetched = await index.documents.fetch(namespace=NS, ids=["f1", "none"])
        assert fetched.documents.keys() == {"f1"}
        got = fetched.documents["f1"].to_dict()
        assert got == document
        assert [type(got[name]) for name in numbers] == [int, int, int, float, float]
        wants: list[tuple[list[str] | None, set[str]]] = [
            (["price"], {"price"}),
            (["weights"], {"weights"}),
            ([], document.keys() - {"_id"}),
        ]
        for wanted, names in wants:
            found = await index.documents.fetch(namespace=NS, ids=["f1"], include_fields=wanted)
            assert found.documents["f1"].to_dict().keys() == {"_id", *names}
        await index.embedded.wait_until_visible()
        clause = [TextQuery(query="tart", fields=["title"])]
        wants = [
            (None, set()),
            ([], set()),
            (["price", "nothing"], {"price"}),
            (["embedding"], {"embedding"}),
            (["*"], document.keys() - {"_id"}),
        ]
        for wanted, names in wants:
            response = await index.documents.search(
                namespace=NS, score_by=clause, top_k=1, include_fields=wanted
            )
            assert response.matches[0].to_dict().keys() == {"_id", "_score", *names}
            assert isinstance(response.matches[0].to_dict()["_score"], float)


@pytest.mark.parametrize("large", [2**53 + 1, 10**17 + 1])
async def test_filter_compares_numbers_as_64_bit_floats(tmp_path: Path, large: int) -> None:
    async with opened(tmp_path, WORDS) as index:
        await index.documents.upsert(
            namespace=NS, documents=[{"_id": "a", "chunk_text": "x", "n": large}]
        )
        found = await index.documents.fetch(namespace=NS, filter={"n": {"$eq": large - 1}})
        assert found.documents["a"].n == large


async def test_upsert_rejects_null_and_nested_object(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        good = {"_id": "good", "chunk_text": "x"}
        for extra in ({"a": None}, {"a": {"b": 1}}, {"a": [1]}, {"$a": 1}, {"chunk_text": 5}):
            with pytest.raises(ApiError) as caught:
                await index.documents.upsert(
                    namespace=NS, documents=[good, {"_id": "bad", "chunk_text": "x", **extra}]
                )
            assert caught.value.status_code == 400
            assert "record 'bad'" in str(caught.value)
        assert (await index.documents.fetch(namespace=NS, ids=["good"])).documents == {}


async def test_text_may_exceed_limit_of_other_fields(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        long = "filler words " * 20_000 + "needle"
        await index.documents.upsert(namespace=NS, documents=[{"_id": "a", "chunk_text": long}])
        await index.embedded.wait_until_visible()
        assert await ids(index, TextQuery(query="needle", fields=["chunk_text"])) == ["a"]
        assert await ids(index, EmbedQuery(query="filler words", field="chunk_text")) == ["a"]
        fetched = await index.documents.fetch(namespace=NS, ids=["a"])
        assert fetched.documents["a"].chunk_text == long


async def test_search_by_text_field_name(tmp_path: Path) -> None:
    async with opened(tmp_path, SEVERAL_TEXTS) as index:
        await index.documents.upsert(
            namespace=NS,
            documents=[
                {"_id": "a", "title": "plum", "body": "pear"},
                {"_id": "b", "title": "pear", "body": "plum"},
                {"_id": "c", "title": "fig"},
            ],
        )
        await index.embedded.wait_until_visible()
        assert await ids(index, TextQuery(query="plum", fields=["body"])) == ["b"]
        assert set(await ids(index, TextQuery(query="plum", fields=["title", "body"]))) == {
            "a",
            "b",
        }
        assert await ids(index, QueryStringQuery(query="body:pear")) == ["a"]
        with pytest.raises(ApiError, match=r"'body' can't be scored by embed.*: title"):
            await ids(index, EmbedQuery(query="plum", field="body"))
        with pytest.raises(ApiError, match="lacks the field 'title'"):
            await index.documents.upsert(namespace=NS, documents=[{"_id": "d", "body": "x"}])


async def test_search_by_vector_field_name_and_metric(tmp_path: Path) -> None:
    async with opened(tmp_path, SEVERAL_VECTORS) as index:
        await index.documents.upsert(
            namespace=NS,
            documents=[
                {"_id": "a", "front": [1, 0, 0, 0], "back": [0, 0, 3]},
                {"_id": "b", "front": [0, 1, 0, 0], "back": [0, 0, 1]},
            ],
        )
        await index.embedded.wait_until_visible()
        front = {"type": "dense_vector", "field": "front", "values": [1, 0.1, 0, 0]}
        back = {"type": "dense_vector", "fields": ["back"], "values": [0, 0, 1]}
        assert await ids(index, front) == ["a", "b"]
        found = await index.documents.search(namespace=NS, score_by=[back], top_k=2)
        assert [(match.id, match.score) for match in found.matches] == [("b", 0.0), ("a", 4.0)]
        with pytest.raises(ApiError, match=r"'middle' can't be scored.*front, back"):
            await ids(index, {**front, "field": "middle"})
        with pytest.raises(ApiError, match="lacks the field 'back'"):
            await index.documents.upsert(
                namespace=NS, documents=[{"_id": "c", "front": [1, 0, 0, 0]}]
            )


async def test_filter_by_values_and_words(tmp_path: Path) -> None:
    async with opened(tmp_path, EVERYTHING) as index:
        await index.documents.upsert(namespace=NS, documents=FRUIT)
        await index.embedded.wait_until_visible()
        embed = EmbedQuery(query="apple", field="title")
        cheap = {"price": {"$lt": 2}}
        assert set(await ids(index, embed, filter=cheap)) == {"f0", "f1"}
        both = {"$and": [cheap, {"title": {"$match_phrase": "apple tart"}}]}
        assert await ids(index, embed, filter=both) == ["f1"]
        assert await ids(index, embed, filter={"title": {"$match_any": "tree tart"}}) != []
        for filter, reason in (
            ({"title": "apple"}, "can't be compared"),
            ({"embedding": {"$exists": True}}, "vectors"),
            ({"price": {"$match_all": "1"}}, "not a full-text field"),
        ):
            with pytest.raises(ApiError, match=reason):
                await ids(index, embed, filter=filter)


async def pages_where_odd(index: EmbeddedAsyncIndex) -> list[str]:
    """Returns the ids of each page."""
    seen: list[str] = []
    token = None
    while True:
        page = await index.documents.fetch(
            namespace=NS, filter={"odd": True}, limit=7, pagination_token=token
        )
        assert len(page.documents) <= 7
        seen += page.documents
        if page.pagination is None:
            return seen
        token = page.pagination.next


async def test_fetch_by_filter_pages(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        many = [{"_id": f"d{n:03d}", "chunk_text": "x", "odd": n % 2 == 1} for n in range(60)]
        await index.documents.upsert(namespace=NS, documents=many)
        seen = await pages_where_odd(index)
        assert seen == [f"d{n:03d}" for n in range(1, 60, 2)]
        listed = index.documents.list(namespace=NS, prefix="d01", limit=4)
        assert [entry.id async for entry in listed] == [f"d01{n}" for n in range(10)]


async def test_fetch_by_filter_during_writes_has_documents_once(
    tmp_path: Path,
) -> None:
    """A rewritten document is a new version with a new docno."""
    async with opened(tmp_path, WORDS) as index:
        many = [{"_id": f"d{n:03d}", "chunk_text": "x", "odd": True} for n in range(120)]
        await index.documents.upsert(namespace=NS, documents=many)
        writing = asyncio.create_task(_rewritten(index, many))
        try:
            for _ in range(3):
                assert await pages_where_odd(index) == [each["_id"] for each in many]
        finally:
            writing.cancel()
            await asyncio.wait([writing])


async def _rewritten(index: EmbeddedAsyncIndex, documents: list[dict[str, Any]]) -> None:
    for times in itertools.count():
        some = [{**each, "times": times} for each in documents[times % 2 :: 2]]
        await index.documents.upsert(namespace=NS, documents=some)


async def test_update_documents_by_id(tmp_path: Path) -> None:
    async with opened(tmp_path, EVERYTHING) as index:
        await index.documents.upsert(namespace=NS, documents=FRUIT)
        updated = await index.documents.update(
            namespace=NS,
            documents=[
                {"_id": "f0", "title": "quince jelly", "new": True, "_remove_fields": ["price"]},
                {"_id": "f1", "embedding": [9, 9, 9]},
                {"_id": "nobody", "price": 5},
            ],
        )
        assert updated.matched_records is None
        fetched = (await index.documents.fetch(namespace=NS, ids=["f0", "f1", "nobody"])).documents
        assert fetched["f0"].to_dict() == {
            **{name: value for name, value in FRUIT[0].items() if name != "price"},
            "title": "quince jelly",
            "new": True,
        }
        assert fetched["f1"].to_dict() == {**FRUIT[1], "embedding": [9, 9, 9]}
        assert "nobody" not in fetched
        await index.embedded.wait_until_visible()
        assert (await ids(index, EmbedQuery(query="quince", field="title")))[0] == "f0"
        assert (await ids(index, EmbedQuery(query="apple tart", field="title")))[0] == "f1"
        assert await ids(index, TextQuery(query="pie", fields=["title"])) == []


async def test_update_and_delete_documents_by_filter(tmp_path: Path) -> None:
    async with opened(tmp_path, EVERYTHING) as index:
        await index.documents.upsert(namespace=NS, documents=FRUIT)
        cheap = {"price": {"$lt": 2}}
        done = await index.documents.update(
            namespace=NS, filter=cheap, set_fields={"sold": True}, remove_fields=["price", "none"]
        )
        assert done.matched_records == 2
        sold = await index.documents.fetch(namespace=NS, filter={"sold": True})
        assert {id: document.to_dict().get("price") for id, document in sold.documents.items()} == {
            "f0": None,
            "f1": None,
        }
        assert sold.documents["f0"].embedding == FRUIT[0]["embedding"]
        with pytest.raises(ApiError, match="lacks the field 'title'"):
            await index.documents.update(
                namespace=NS, filter={"sold": True}, remove_fields=["title"]
            )
        words = {"title": {"$match_all": "apple"}}
        for call in (
            index.documents.delete(namespace=NS, filter=words),
            index.documents.update(namespace=NS, filter=words, set_fields={"a": 1}),
        ):
            with pytest.raises(ApiError, match="can't select"):
                await call
        assert (
            await index.documents.delete(namespace=NS, filter={"sold": True})
        ).matched_records == 2
        by_id = await index.documents.delete(namespace=NS, ids=["f2", "nobody"])
        assert by_id.matched_records is None
        assert [entry.id async for entry in index.documents.list(namespace=NS)] == ["f3"]
        everything = await index.documents.delete(namespace=NS, delete_all=True)
        assert everything.matched_records is None
        assert [entry.id async for entry in index.documents.list(namespace=NS)] == []


async def test_upsert_splits_batch_and_reports_failures(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        documents = [{"_id": f"d{n}", "chunk_text": f"word{n}"} for n in range(120)]
        documents[70]["chunk_text"] = 5  # type: ignore[assignment]  # on purpose
        result = await index.documents.batch_upsert(
            namespace=NS, documents=documents, batch_size=50, show_progress=False
        )
        assert result.successful_item_count == 70
        assert {item["_id"] for item in result.failed_items} == {f"d{n}" for n in range(50, 100)}


async def test_lexical_index_rejects_unsupported_scoring(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        with pytest.raises(ApiError, match="the fields for it: none"):
            await ids(index, EmbedQuery(query="x", field="chunk_text"))
        with pytest.raises(ApiError, match="none of the fields that can be searched"):
            await index.documents.upsert(namespace=NS, documents=[{"_id": "a", "price": 5}])
        with pytest.raises(ApiError) as caught:
            await ids(index, QueryStringQuery(query='chunk_text:("open'))
        assert caught.value.status_code == 400
