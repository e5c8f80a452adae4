"""Indexes by name: found once at start-up, with the dialect that their schema calls for."""

from __future__ import annotations

from typing import Any

import pytest

from service.app import create_app, running
from service.errors import StartupFailed
from tests.conftest import MakeSettings
from tests.upstream import Garbage, Status, Upstream

NO_HOSTS = {"pinecone_dense_index_host": None, "pinecone_sparse_index_host": None}


def named(dense: str, sparse: str, **more: Any) -> dict[str, Any]:
    return {**NO_HOSTS, "pinecone_dense_index": dense, "pinecone_sparse_index": sparse, **more}


async def ask(app: Any, path: str) -> Any:
    response = await app.test_client().get(path)
    assert response.status_code == 200, await response.get_data()
    return await response.get_json()


async def test_a_name_is_resolved_once_and_not_per_request(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**named("dense", "sparse")))
    async with running(app):
        for _ in range(3):
            await ask(app, "/api/cascading-retrieval?text_query=the+cat")
    described = [call.path for call in upstream.calls if call.path.startswith("/indexes/")]
    assert described == ["/indexes/dense", "/indexes/sparse"]
    assert {call.path for call in upstream.searches("dense")} == {
        "/records/namespaces/__default__/search"
    }


async def test_a_document_index_is_asked_through_documents_with_two_fields_of_one_index(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**named("documents", "documents")))
    async with running(app):
        answer = await ask(app, "/api/cascading-retrieval?text_query=the+cat&top_k=3")
    assert answer["results"][0]["_id"] == "cat"
    assert answer["results"][0]["chunk_text"].startswith("The cat")
    calls = upstream.searches("documents")
    assert {call.path for call in calls} == {"/namespaces/__default__/documents/search"}
    clauses = sorted((call.body["score_by"][0] for call in calls), key=lambda c: str(c["type"]))
    assert clauses == [
        {"type": "embed", "field": "chunk_text", "query": "the cat"},
        {"type": "sparse_embed", "field": "chunk_text", "query": "the cat"},
    ]


async def test_full_text_search_is_a_text_clause(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(**named("wordy", "wordy", pinecone_sparse_field="chunk_text")))
    async with running(app):
        await ask(app, "/api/lexical-search?text_query=the+cat")
    (call,) = upstream.searches("wordy")
    assert call.body["score_by"] == [{"type": "text", "query": "the cat", "fields": ["chunk_text"]}]


async def test_the_dialect_can_be_set_for_an_index_that_is_given_by_host(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(pinecone_dialect="documents", pinecone_sparse_clause="text"))
    async with running(app):
        await ask(app, "/api/lexical-search?text_query=cat")
    (call,) = upstream.searches("sparse")
    assert call.body["score_by"] == [{"type": "text", "query": "cat", "fields": ["chunk_text"]}]


async def test_per_leg_reranking_of_documents_is_done_by_the_hosted_reranker(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    """The documents call can't rerank; what the caller asked for is done all the same."""
    app = create_app(make_settings(**named("documents", "documents")))
    async with running(app):
        answer = await ask(app, "/api/semantic-search?text_query=the+cat&rerank=per-leg")
    (call,) = upstream.searches("control")
    assert len(call.body["documents"]) == 10
    assert answer["receipt"]["stages"][0]["usage"]["rerank_units"] == 1
    assert answer["results"][0]["_id"] == "cat"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (named("nowhere", "sparse"), "PINECONE_DENSE_INDEX: there is no index named 'nowhere'"),
        (named("dense", "sparse", pinecone_api_key="wrong"), "PINECONE_API_KEY"),
        (
            named("wordy", "wordy", pinecone_dense_field="title"),
            r"PINECONE_DENSE_FIELD.*\['chunk_text'\]",
        ),
        (
            {"pinecone_dense_index_host": "not a host"},
            "PINECONE_DENSE_INDEX_HOST",
        ),
        ({"pinecone_api_key": "two\nlines"}, "PINECONE_API_KEY"),
    ],
)
async def test_an_index_that_is_not_there_is_a_setting_to_be_put_right(
    make_settings: MakeSettings, wrong: dict[str, Any], hint: str
) -> None:
    with pytest.raises(StartupFailed, match=hint) as failed:
        async with running(create_app(make_settings(**wrong))):
            pass
    assert "\n" not in failed.value.detail


@pytest.mark.parametrize("behaviour", [Garbage(), Garbage(b"[]"), Status(400), Status(500)])
async def test_a_control_plane_that_makes_no_sense_is_said_in_one_line(
    make_settings: MakeSettings, upstream: Upstream, behaviour: Any
) -> None:
    upstream.behave(behaviour, "control")
    with pytest.raises(StartupFailed, match="PINECONE_DENSE_INDEX") as failed:
        async with running(create_app(make_settings(**named("dense", "sparse")))):
            pass
    assert "\n" not in failed.value.detail
