"""The records API: upsert of texts and search, with and without a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pinecone.errors import ApiError, ServiceError

from service.embedded.client import opened_client
from service.inference.reranker import RerankResult
from service.inference.static_embedder import wordllama_embedder
from tests.embedded.pinecone_api.calls import BOTH, NS, SEVERAL_TEXTS, SPARSE, WORDS, opened

RECORDS: list[dict[str, Any]] = [
    {"_id": "a", "chunk_text": "apple pie with cream", "room": "kitchen"},
    {"id": "b", "chunk_text": "apple tree", "room": "garden", "gone": None},
    {"_id": "c", "id": "not me", "chunk_text": "pear", "room": "garden"},
]


class ByLength:
    """A reranker that prefers long texts."""

    model = "by-length"
    max_documents = 20

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        self.asked.append((query, list(documents)))
        scored = [(at, float(len(text))) for at, text in enumerate(documents)]
        return RerankResult(sorted(scored, key=lambda pair: -pair[1]), 3)


class Failing(ByLength):
    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        raise ConnectionError


async def test_upsert_texts_and_search_records(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        written = await index.upsert_records(namespace=NS, records=RECORDS)
        assert written.record_count == 3
        await index.embedded.wait_until_visible()
        response = await index.search(namespace=NS, top_k=2, inputs={"text": "apple tree"})
        first, second = response.result.hits
        assert (first.id, second.id) == ("b", "a")
        assert first.score == pytest.approx(1, abs=1e-3)
        assert first.fields == {"chunk_text": "apple tree", "room": "garden"}
        assert (response.usage.read_units, response.usage.rerank_units) == (1, None)
        few = await index.search_records(
            namespace=NS,
            query={"inputs": {"text": "pear"}, "top_k": 3, "filter": {"room": "garden"}},
            fields=["room"],
        )
        assert [(hit.id, hit.fields) for hit in few.result.hits] == [
            ("c", {"room": "garden"}),
            ("b", {"room": "garden"}),
        ]
        vector = [float(x) for x in index.embedded.embedder.embed(["pear"])[0]]
        by_vector = await index.search(namespace=NS, top_k=1, vector=vector)
        assert by_vector.result.hits[0].id == "c"
        assert (await index.search(namespace=NS, top_k=1, id="a")).result.hits[0].id == "a"
        assert (await index.search(namespace=NS, top_k=1, id="none")).result.hits == []


async def test_match_terms_restrict_dense_and_lexical_search(tmp_path: Path) -> None:
    terms = {"strategy": "all", "terms": ["apple", "tree"]}
    for number, schema in enumerate((BOTH, WORDS)):
        async with opened(tmp_path / str(number), schema) as index:
            await index.upsert_records(namespace=NS, records=RECORDS)
            await index.embedded.wait_until_visible()
            asked: dict[str, Any] = {"namespace": NS, "top_k": 5, "inputs": {"text": "apple cream"}}
            every = await index.search(**asked)
            assert {hit.id for hit in every.result.hits} >= {"a", "b"}
            found = await index.search(**asked, match_terms=terms)
            assert [hit.id for hit in found.result.hits] == ["b"]
            none = await index.search(**asked, match_terms=terms, filter={"room": "kitchen"})
            assert none.result.hits == []
            with pytest.raises(ApiError, match="strategy"):
                await index.search(**asked, match_terms={"strategy": "any", "terms": ["x"]})


async def test_search_reranks_hits(tmp_path: Path) -> None:
    reranker = ByLength()
    async with opened(tmp_path, BOTH, reranker) as index:
        await index.upsert_records(namespace=NS, records=RECORDS)
        await index.embedded.wait_until_visible()
        rerank: dict[str, Any] = {"model": "by-length", "rank_fields": ["chunk_text"], "top_n": 2}
        response = await index.search(
            namespace=NS, top_k=3, inputs={"text": "pear"}, rerank=rerank, fields=["room"]
        )
        assert [(hit.id, hit.score) for hit in response.result.hits] == [("a", 20.0), ("b", 10.0)]
        assert response.result.hits[0].fields == {"room": "kitchen"}
        assert response.usage.rerank_units == 3
        query, texts = reranker.asked[-1]
        assert query == "pear"
        assert sorted(texts) == sorted(str(each["chunk_text"]) for each in RECORDS)
        rerank = {"model": "by-length", "rank_fields": ["room", "chunk_text"], "query": "other"}
        response = await index.search(namespace=NS, top_k=3, id="a", rerank=rerank)
        assert len(response.result.hits) == 3
        assert reranker.asked[-1][0] == "other"
        assert "garden\npear" in reranker.asked[-1][1]
        nothing = await index.search(
            namespace="empty", top_k=3, inputs={"text": "pear"}, rerank=rerank
        )
        assert (nothing.result.hits, nothing.usage.rerank_units) == ([], 0)
        good: dict[str, Any] = {"namespace": NS, "top_k": 3, "inputs": {"text": "pear"}}
        for asked, reason in (
            ({"rerank": {**rerank, "model": "other"}}, "not the reranker"),
            ({"rerank": {**rerank, "rank_fields": []}}, "rank_fields"),
            ({"rerank": {**rerank, "top_n": 0}}, "top_n"),
            ({"rerank": rerank, "top_k": 21}, "at most 20"),
            ({"rerank": {**rerank, "query": None}, "inputs": None, "id": "a"}, "needs a query"),
        ):
            with pytest.raises(ApiError, match=reason):
                await index.search(**{**good, **asked})


async def test_rerank_without_or_with_failing_reranker_is_error(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "namespace": NS,
        "top_k": 3,
        "inputs": {"text": "pear"},
        "rerank": {"model": "by-length", "rank_fields": ["chunk_text"]},
    }
    async with opened(tmp_path / "a", BOTH) as index:
        with pytest.raises(ApiError, match="has no reranker") as caught:
            await index.search(**asked)
        assert caught.value.status_code == 400
    async with opened(tmp_path / "b", BOTH, Failing()) as index:
        await index.upsert_records(namespace=NS, records=RECORDS)
        await index.embedded.wait_until_visible()
        with pytest.raises(ServiceError, match="the reranker failed") as failed:
            await index.search(**asked)
        assert failed.value.status_code == 503


async def test_records_api_rejects_unsupported_requests(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", BOTH) as index:
        for records, reason in (
            ([{"_id": "a", "other": "x"}], "lacks the field 'chunk_text'"),
            ([{"_id": "", "chunk_text": "x"}], "non-empty"),
            ([{"_id": "é", "chunk_text": "x"}], "not ASCII"),
            ([{"_id": str(n), "chunk_text": "x"} for n in range(97)], "1 to 96"),
            ([{"_id": "a", "chunk_text": "x", "deep": {"a": 1}}], "'deep' must be a text"),
        ):
            with pytest.raises(ApiError, match=reason):
                await index.upsert_records(namespace=NS, records=records)
        good: dict[str, Any] = {"namespace": NS, "top_k": 1}
        for asked, reason in (
            ({"inputs": {"text": 5}}, "inputs.text"),
            ({"inputs": {"text": "x"}, "id": "a"}, "exactly one of"),
            ({"inputs": {"text": "x"}, "fields": ["a"] * 101}, "fields"),
            ({"vector": {}}, "neither values"),
            ({"vector": {"sparse_indices": [1]}}, "sparse vector"),
            ({"id": "a", "match_terms": {"strategy": "all", "terms": ["x"]}}, "inputs only"),
        ):
            with pytest.raises(ApiError, match=reason):
                await index.search(**{**good, **asked})
    async with opened(tmp_path / "b", SPARSE) as index:
        with pytest.raises(ApiError, match="no text field"):
            await index.search(namespace=NS, top_k=1, inputs={"text": "x"})
    async with opened(tmp_path / "c", SEVERAL_TEXTS) as index:
        await index.upsert_records(
            namespace=NS, records=[{"_id": "a", "title": "plum", "body": "b"}]
        )
        await index.embedded.wait_until_visible()
        found = await index.search(namespace=NS, top_k=1, inputs={"text": "plum"})
        assert found.result.hits[0].id == "a"


async def test_builtin_embedder_finds_paraphrase(tmp_path: Path) -> None:
    async with opened_client(tmp_path, "records", BOTH, wordllama_embedder()) as index:
        await index.upsert_records(
            namespace=NS,
            records=[
                {"_id": "wool", "chunk_text": "Woollen jumpers shrink in a hot wash"},
                {"_id": "pump", "chunk_text": "The drain pump is blocked"},
            ],
        )
        await index.embedded.wait_until_visible()
        found = await index.search(namespace=NS, top_k=1, inputs={"text": "my sweater is small"})
        assert found.result.hits[0].id == "wool"
