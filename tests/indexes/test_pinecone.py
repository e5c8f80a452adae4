"""Opening Pinecone indexes: by name or by host, with the API that fits their schema."""

from __future__ import annotations

from typing import Any

import pytest

from service.app import create_app, running
from service.errors import StartupFailed
from tests.conftest import MakeSettings
from tests.upstream import Garbage, Status, Upstream

NO_HOSTS = {"pinecone_dense_index_host": None, "pinecone_sparse_index_host": None}


def by_name(dense: str, sparse: str, **settings: Any) -> dict[str, Any]:
    return {**NO_HOSTS, "pinecone_dense_index": dense, "pinecone_sparse_index": sparse, **settings}


async def get_json(app: Any, path: str) -> Any:
    response = await app.test_client().get(path)
    assert response.status_code == 200, await response.get_data()
    return await response.get_json()


async def test_index_name_is_resolved_once_at_startup(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**by_name("dense", "sparse")))
    async with running(app):
        for _ in range(3):
            await get_json(app, "/api/cascading-retrieval?text_query=the+cat")
    described = [call.path for call in upstream.calls if call.path.startswith("/indexes/")]
    assert described == ["/indexes/dense", "/indexes/sparse"]
    assert {call.path for call in upstream.searches("dense")} == {
        "/records/namespaces/__default__/search"
    }


async def test_document_index_is_searched_with_an_embed_and_a_sparse_embed_clause(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**by_name("documents", "documents")))
    async with running(app):
        answer = await get_json(app, "/api/cascading-retrieval?text_query=the+cat&top_k=3")
    assert answer["results"][0]["_id"] == "cat"
    assert answer["results"][0]["chunk_text"].startswith("The cat")
    calls = upstream.searches("documents")
    assert {call.path for call in calls} == {"/namespaces/__default__/documents/search"}
    clauses = sorted(
        (call.body["score_by"][0] for call in calls), key=lambda clause: str(clause["type"])
    )
    assert clauses == [
        {"type": "embed", "field": "chunk_text", "query": "the cat"},
        {"type": "sparse_embed", "field": "chunk_text", "query": "the cat"},
    ]


async def test_full_text_field_is_searched_with_a_text_clause(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**by_name("wordy", "wordy", pinecone_sparse_field="chunk_text")))
    async with running(app):
        await get_json(app, "/api/lexical-search?text_query=the+cat")
    (call,) = upstream.searches("wordy")
    assert call.body["score_by"] == [{"type": "text", "query": "the cat", "fields": ["chunk_text"]}]


async def test_dialect_setting_applies_to_an_index_given_by_host(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(pinecone_dialect="documents", pinecone_sparse_clause="text"))
    async with running(app):
        await get_json(app, "/api/lexical-search?text_query=cat")
    (call,) = upstream.searches("sparse")
    assert call.body["score_by"] == [{"type": "text", "query": "cat", "fields": ["chunk_text"]}]


async def test_per_leg_reranking_of_a_document_index_uses_the_hosted_reranker(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    """The documents API can't rerank, so the service calls the reranker."""
    app = create_app(make_settings(**by_name("documents", "documents")))
    async with running(app):
        answer = await get_json(app, "/api/semantic-search?text_query=the+cat&rerank=per-leg")
    (call,) = upstream.searches("control")
    assert len(call.body["documents"]) == 10
    assert answer["receipt"]["stages"][0]["usage"]["rerank_units"] == 1
    assert answer["results"][0]["_id"] == "cat"


@pytest.mark.parametrize(
    ("invalid", "hint"),
    [
        (by_name("nowhere", "sparse"), "PINECONE_DENSE_INDEX: there is no index named 'nowhere'"),
        (by_name("dense", "sparse", pinecone_api_key="wrong"), "PINECONE_API_KEY"),
        (
            by_name("wordy", "wordy", pinecone_dense_field="title"),
            r"PINECONE_DENSE_FIELD.*\['chunk_text'\]",
        ),
        (
            {"pinecone_dense_index_host": "not a host"},
            "PINECONE_DENSE_INDEX_HOST",
        ),
        ({"pinecone_api_key": "two\nlines"}, "PINECONE_API_KEY"),
    ],
)
async def test_startup_error_names_the_setting_to_correct(
    make_settings: MakeSettings, invalid: dict[str, Any], hint: str
) -> None:
    with pytest.raises(StartupFailed, match=hint) as failed:
        async with running(create_app(make_settings(**invalid))):
            pass
    assert "\n" not in failed.value.detail


@pytest.mark.parametrize("behavior", [Garbage(), Garbage(b"[]"), Status(400), Status(500)])
async def test_startup_error_of_a_bad_control_plane_response_is_one_line(
    make_settings: MakeSettings, upstream: Upstream, behavior: Any
) -> None:
    upstream.behave(behavior, "control")
    with pytest.raises(StartupFailed, match="PINECONE_DENSE_INDEX") as failed:
        async with running(create_app(make_settings(**by_name("dense", "sparse")))):
            pass
    assert "\n" not in failed.value.detail
