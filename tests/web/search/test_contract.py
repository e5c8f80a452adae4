"""Tests for compatibility with clients of Pinecone's published FastAPI example."""

from __future__ import annotations

import pytest

from tests.conftest import Client
from tests.upstream import Upstream

PATHS = ["/api/semantic-search", "/api/lexical-search", "/api/cascading-retrieval"]


@pytest.mark.parametrize("path", PATHS)
async def test_result_keys_match_fastapi_example(client: Client, path: str) -> None:
    """`_id`, `score` and `chunk_text`, in that order, best first."""
    response = await client.get(path, query_string={"text_query": "the warm cat"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    results = (await response.get_json())["results"]
    assert results[0]["_id"] == "cat"
    for result in results:
        assert list(result)[:3] == ["_id", "score", "chunk_text"]
        assert isinstance(result["_id"], str)
        assert isinstance(result["score"], float)
        assert isinstance(result["chunk_text"], str)
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "text_query=", "text_query=%20%20", "top_k=3"])
async def test_empty_query_error_matches_fastapi_example(
    client: Client, path: str, query: str
) -> None:
    response = await client.get(f"{path}?{query}")
    assert response.status_code == 422
    assert (await response.get_json())["detail"] == "Text query cannot be empty"


async def test_top_k_defaults_to_setting(client: Client, upstream: Upstream) -> None:
    response = await client.get(PATHS[0], query_string={"text_query": "cat"})
    assert len((await response.get_json())["results"]) == 10
    (call,) = upstream.searches("dense")
    assert call.body["query"]["top_k"] == 10
    assert call.path == "/records/namespaces/__default__/search"


@pytest.mark.parametrize("path", PATHS)
async def test_post_and_get_return_same_results(client: Client, path: str) -> None:
    parameters = {"text_query": "before the winter", "top_k": 3}
    get_response = await (await client.get(path, query_string=parameters)).get_json()
    post_response = await (await client.post(path, json=parameters)).get_json()
    assert post_response["results"] == get_response["results"]
    assert len(post_response["results"]) <= 3
