"""The client of an embedded index: validation, responses, exceptions and timeouts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pinecone import AsyncIndex, PineconeTypeError, PineconeValueError, TextQuery
from pinecone.async_client.documents import AsyncDocuments
from pinecone.errors import ApiError, NotFoundError, PineconeTimeoutError, ServiceError

from service.inference.reranker import RerankResult
from tests.embedded.pinecone_api.calls import BOTH, HYBRID, NS, opened
from tests.embedded.pinecone_api.test_documents import FRUIT
from tests.embedded.pinecone_api.test_hostile import SCHEMA

WORDS = ["apple pie", "apple tart", "plum cake"]
DOCUMENTS = [
    {"_id": f"d{n}", "chunk_text": text, "n": n, "tags": ["a"]} for n, text in enumerate(WORDS)
]


async def test_client_is_async_index_without_network(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        assert isinstance(index, AsyncIndex)
        assert isinstance(index.documents, AsyncDocuments)
        assert index.documents is index.documents
        with pytest.raises(NotImplementedError, match="over a network"):
            await index._http.put("/anything")
        async with index:
            await index.upsert_records(namespace=NS, records=DOCUMENTS)
        assert (await index.describe_index_stats()).total_vector_count == 3


async def test_text_clause_allows_typos_if_requested(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        await index.documents.upsert(namespace=NS, documents=DOCUMENTS)
        await index.embedded.wait_until_visible()
        clause: dict[str, Any] = {"type": "text", "query": "aple", "fields": ["chunk_text"]}

        async def found(*clauses: Any) -> set[str]:
            asked: dict[str, Any] = {"namespace": NS, "score_by": clauses, "top_k": 5}
            return {match.id for match in (await index.documents.search(**asked)).matches}

        assert await found(clause) == set()
        assert await found({**clause, "typos": False}) == set()
        assert await found({**clause, "typos": True}) == {"d0", "d1"}
        plain = TextQuery(query="plum", fields=["chunk_text"])
        assert await found(plain, {**clause, "typos": True}) == {"d0", "d1", "d2"}
        assert clause == {"type": "text", "query": "aple", "fields": ["chunk_text"]}
        for wrong in (
            {**clause, "typos": "yes"},
            {"type": "embed", "query": "x", "field": "chunk_text", "typos": True},
        ):
            with pytest.raises(ApiError, match="typos"):
                await found(wrong)


async def test_search_shorthand_equals_full_form(tmp_path: Path) -> None:
    async with opened(tmp_path, SCHEMA) as index:
        documents = [
            {
                "_id": each["_id"],
                "chunk_text": each["title"],
                "v": [each["price"], 1],
                "price": each["price"],
            }
            for each in FRUIT
        ]
        await index.documents.upsert(namespace=NS, documents=documents)
        await index.embedded.wait_until_visible()
        long_way = AsyncDocuments(http=index._http, host=index.host)
        text = TextQuery(query="apple", fields=["chunk_text"])
        for asked in (
            {"score_by": [text]},
            {"score_by": [text], "include_fields": ["*"]},
            {"score_by": ({"type": "embed", "field": "chunk_text", "query": "plum"},)},
            {
                "score_by": [{"type": "dense_vector", "field": "v", "values": [1, 0.5]}],
                "include_fields": ["v", "price"],
                "filter": {"price": {"$gt": 0}},
            },
        ):
            given: dict[str, Any] = {"namespace": NS, "top_k": 3, **asked}
            short, long = await index.documents.search(**given), await long_way.search(**given)
            assert short == long
            assert short.matches
            assert short.response_info is not None
            assert long.response_info is not None
            assert "content-type" in short.response_info.raw_headers
        wrongs: list[dict[str, Any]] = [
            {"score_by": []},
            {"score_by": text},
            {"score_by": "text"},
            {"score_by": [5]},
            {"score_by": [{"type": "text", "query": "x", "boost": 2}]},
            {"score_by": [text], "top_k": 0},
            {"score_by": [text], "top_k": True},
            {"score_by": [text], "namespace": " "},
            {"score_by": [text], "timeout": 0},
            {"score_by": [text], "filter": {"v": 1}},
            {"score_by": [{"type": "text", "query": "x", "fields": ["none"]}]},
        ]
        for wrong in wrongs:
            given = {"namespace": NS, "top_k": 3, **wrong}
            with pytest.raises(Exception) as shortly:  # noqa: PT011 - compared below
                await index.documents.search(**given)
            with pytest.raises(type(shortly.value)) as longly:
                await long_way.search(**given)
            assert str(shortly.value) == str(longly.value)


async def test_rejection_raises_exception_of_pinecone_client(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        with pytest.raises(NotFoundError) as missing:
            await index.describe_namespace(name="none")
        assert missing.value.status_code == 404
        with pytest.raises(ApiError) as refused:
            await index.search(namespace=NS, top_k=10_001, inputs={"text": "x"})
        assert refused.value.status_code == 400
        assert "10000" in refused.value.message
        assert refused.value.body == {"code": 3, "message": refused.value.message, "details": []}
        with pytest.raises(PineconeValueError):
            await index.search(namespace=NS, top_k=0, inputs={"text": "x"})


@pytest.mark.parametrize("value", [2**64, {1, 2}, object(), b"x", {5: 1}])
async def test_client_rejects_values_that_are_not_json(tmp_path: Path, value: Any) -> None:
    async with opened(tmp_path, BOTH) as index:
        with pytest.raises((PineconeTypeError, PineconeValueError)):
            await index.search(
                namespace=NS, top_k=1, inputs={"text": "x"}, filter={"a": {"$in": value}}
            )


async def test_full_disk_is_not_a_client_error(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        await index.upsert_records(namespace=NS, records=DOCUMENTS)
        writing = index.embedded.store._writer._connection
        assert writing is not None
        writing.execute("PRAGMA max_page_count = 1")  # it is as many as there are, then
        with pytest.raises(ServiceError, match="no space left") as caught:
            await index.documents.upsert(
                namespace=NS,
                documents=[{"_id": f"x{n}", "chunk_text": "x" * 9_000} for n in range(50)],
            )
        assert caught.value.status_code == 507
        assert (await index.describe_index_stats()).total_vector_count == 3
        writing.execute("PRAGMA max_page_count = 1000000")
        await index.documents.upsert(namespace=NS, documents=[{"_id": "x", "chunk_text": "x"}])


async def test_closed_store_is_not_a_client_error(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        index.embedded.store.close()
        with pytest.raises(ServiceError, match="can't be used") as caught:
            await index.upsert_records(namespace=NS, records=DOCUMENTS)
        assert caught.value.status_code == 503


class Waiting:
    """A reranker that blocks until it is released."""

    model = "waiting"
    max_documents = 100

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        self.asked.set()
        await self.go.wait()
        return RerankResult([(at, 1.0) for at in range(len(documents))], 1)


async def test_slow_call_raises_timeout_of_pinecone_client(tmp_path: Path) -> None:
    reranker = Waiting()
    async with opened(tmp_path, BOTH, reranker) as index:
        await index.upsert_records(namespace=NS, records=DOCUMENTS)
        await index.embedded.wait_until_visible()
        asked: dict[str, Any] = {
            "namespace": NS,
            "top_k": 2,
            "inputs": {"text": "apple"},
            "rerank": {"model": "waiting", "rank_fields": ["chunk_text"]},
        }
        with pytest.raises(PineconeTimeoutError, match=r"no answer in 0\.05 s"):
            await index.search(**asked, timeout=0.05)
        reranker.go.set()
        assert len((await index.search(**asked, timeout=5)).result.hits) == 2


async def test_cancelled_upsert_is_atomic(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        for number in range(40):
            documents = [{"_id": f"{number}-{n}", "chunk_text": f"word {n}"} for n in range(50)]
            task = asyncio.create_task(
                index.documents.upsert(namespace=f"ns{number}", documents=documents)
            )
            for _ in range(number % 8):
                await asyncio.sleep(0.001 * (number % 8))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await index.documents.upsert(namespace="last", documents=DOCUMENTS)
        await index.embedded.wait_until_visible()
        stats = await index.describe_index_stats()
        assert {each.vector_count for each in stats.namespaces.values()} <= {50, 3}
        found = await index.search(namespace="last", top_k=1, inputs={"text": "plum cake"})
        assert found.result.hits[0].id == "d2"


async def test_cancelled_searches_leak_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, HYBRID) as index:
        await index.upsert(vectors=[(f"v{n}", [1, n, 0, 1]) for n in range(500)])
        await index.embedded.wait_until_visible()
        await index.query(top_k=10, vector=[1, 0, 0, 0])
        for _ in range(20):
            searches = [
                asyncio.create_task(index.query(top_k=100, vector=[1, 0, 0, 0])) for _ in range(20)
            ]
            await asyncio.sleep(0)
            for search in searches:
                search.cancel()
            await asyncio.gather(*searches, return_exceptions=True)
        assert len((await index.query(top_k=10, vector=[1, 0, 0, 0])).matches) == 10
        assert sum(thread.name.startswith("search") for thread in threading.enumerate()) <= 4
        assert index.embedded._quick._work_queue.qsize() == 0
