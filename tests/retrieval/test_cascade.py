"""The cascade over HTTP: the requests to Pinecone, and the answer made of its responses."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.conftest import Client
from tests.upstream import Upstream, Wrong
from tests.upstream.pinecone import RECORDS, rank, rerank_score

QUERY = "the valve before the winter"


async def search(client: Client, path: str = "cascading-retrieval", **body: Any) -> Any:
    response = await client.post(f"/api/{path}", json={"text_query": QUERY, **body})
    assert response.status_code == 200, await response.get_data()
    return await response.get_json()


def ids(answer: Any) -> list[str]:
    return [result["_id"] for result in answer["results"]]


def by_rerank(found: set[str]) -> list[str]:
    return sorted(found, key=lambda id: -rerank_score(QUERY, RECORDS[id]))


def found(index: str, top_k: int) -> set[str]:
    return {id for id, _ in rank(index, QUERY, top_k)}


async def test_union_is_reranked_once_and_cut(client: Client, upstream: Upstream) -> None:
    answer = await search(client, top_k=5)
    union = found("dense", 5) | found("sparse", 5)
    assert ids(answer) == by_rerank(union)[:5]
    (rerank,) = upstream.searches("control")
    assert rerank.body["model"] == "cohere-rerank-3.5"
    assert rerank.body["query"] == QUERY
    texts = {document["text"] for document in rerank.body["documents"]}
    assert texts == {RECORDS[id] for id in union}
    for call in (*upstream.searches("dense"), *upstream.searches("sparse")):
        assert "rerank" not in call.body


async def test_hit_names_legs_that_found_it(client: Client) -> None:
    answer = await search(client, top_k=5, rerank="none")
    dense, sparse = found("dense", 5), found("sparse", 5)
    for result in answer["results"]:
        legs = [
            leg for leg, ids in (("semantic", dense), ("lexical", sparse)) if result["_id"] in ids
        ]
        assert result["found_by"] == legs
    assert {len(result["found_by"]) for result in answer["results"]} == {1, 2}


async def test_per_leg_rerank_runs_inside_each_search_only(
    client: Client, upstream: Upstream
) -> None:
    answer = await search(client, top_k=4, rerank="per-leg")
    assert upstream.searches("control") == []
    for call in (*upstream.searches("dense"), *upstream.searches("sparse")):
        assert call.body["rerank"] == {
            "model": "cohere-rerank-3.5",
            "rank_fields": ["chunk_text"],
        }
    assert ids(answer) == by_rerank(found("dense", 4) | found("sparse", 4))[:4]


async def test_search_without_rerank_ends_with_fusion(client: Client, upstream: Upstream) -> None:
    answer = await search(client, rerank="none")
    assert upstream.searches("control") == []
    assert [stage["stage"] for stage in answer["receipt"]["stages"]][-1] == "fuse"


async def test_legs_run_concurrently(client: Client, upstream: Upstream) -> None:
    """Each response waits until both requests have arrived, which never ends if one is first."""
    both = threading.Barrier(2, timeout=60)

    class Meet:
        async def answer(self, writer: Any, usual: Any) -> None:
            await asyncio.to_thread(both.wait)
            writer.write(usual())

    upstream.behave(Meet(), "dense", "sparse")
    assert (await search(client, rerank="none"))["degraded"] is False


@pytest.mark.parametrize("path", ["semantic-search", "lexical-search", "cascading-retrieval"])
async def test_namespace_filter_and_fields_are_sent_to_index(
    client: Client, upstream: Upstream, path: str
) -> None:
    condition = {"length": {"$gt": 10}}
    answer = await search(
        client, path, namespace="team:a", filter=condition, fields=["kind"], rerank="none"
    )
    for call in upstream.searches():
        assert call.path == "/records/namespaces/team%3Aa/search"
        assert call.body["query"]["filter"] == condition
        assert call.body["fields"] == ["kind"]
    for result in answer["results"]:
        assert result.keys() - {"found_by"} == {"_id", "score", "kind"}


async def test_reranker_gets_text_even_if_not_requested(client: Client, upstream: Upstream) -> None:
    answer = await search(client, fields=["kind"], rerank="union")
    assert upstream.searches("dense")[0].body["fields"] == ["kind", "chunk_text"]
    assert upstream.searches("control")[0].body["documents"][0]["text"]
    assert all("chunk_text" not in result for result in answer["results"])


async def test_star_returns_every_field(client: Client, upstream: Upstream) -> None:
    answer = await search(client, "semantic-search", fields=["*"])
    assert "fields" not in upstream.searches("dense")[0].body
    assert answer["results"][0].keys() == {"_id", "score", "chunk_text", "length", "kind"}


async def test_default_fields_are_text_only(client: Client, upstream: Upstream) -> None:
    await search(client, "semantic-search")
    assert upstream.searches("dense")[0].body["fields"] == ["chunk_text"]


async def test_receipt_reports_each_stage(client: Client) -> None:
    answer = await search(client, top_k=5)
    stages = {stage["stage"]: stage for stage in answer["receipt"]["stages"]}
    assert set(stages) == {"semantic", "lexical", "fuse", "rerank"}
    assert all(stage["status"] == "ok" for stage in stages.values())
    assert stages["semantic"]["usage"] == {"read_units": 1, "embed_total_tokens": 3}
    assert stages["rerank"]["usage"] == {"rerank_units": 1}
    assert stages["semantic"]["candidates"] == 5
    assert answer["degraded"] is False
    assert answer["receipt"]["missing"] == []


async def test_reranked_record_without_text_is_last(client: Client, upstream: Upstream) -> None:
    hits = [
        {"_id": "blank", "_score": 0.9, "fields": {}},
        {"_id": "read", "_score": 0.1, "fields": {"chunk_text": "the valve"}},
    ]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), "dense")
    answer = await search(client, "semantic-search", rerank="union")
    assert ids(answer) == ["read", "blank"]
    assert answer["results"][1]["chunk_text"] is None


async def test_query_without_hits_has_empty_answer(client: Client, upstream: Upstream) -> None:
    answer = await search(client, "lexical-search", text_query="xylophone")
    assert answer["results"] == []
    empty = {"result": {"hits": []}, "usage": {"read_units": 1}}
    upstream.behave(Wrong(empty), "dense", "sparse")
    assert (await search(client))["results"] == []
    assert upstream.searches("control") == []
