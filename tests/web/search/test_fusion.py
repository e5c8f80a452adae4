"""Tests for the fusion parameters and settings."""

from __future__ import annotations

from typing import Any

import pytest

from service.app import create_app
from tests.conftest import Client, MakeSettings
from tests.upstream import Upstream
from tests.upstream.pinecone import RECORDS, rerank_score
from tests.web.search.test_validation import assert_error

CASCADE = "/api/cascading-retrieval"
QUERY = "the valve before the winter"


async def scores(client: Client, **body: Any) -> dict[str, float]:
    """The scores of the results by id, best first."""
    parameters = {"text_query": QUERY, "top_k": 12, "rerank": "none", **body}
    response = await client.post(CASCADE, json=parameters)
    assert response.status_code == 200
    results = (await response.get_json())["results"]
    return {result["_id"]: result["score"] for result in results}


async def ranked_ids(client: Client, path: str) -> list[str]:
    response = await client.post(path, json={"text_query": QUERY, "top_k": 12})
    return [result["_id"] for result in (await response.get_json())["results"]]


async def test_fusion_parameter_selects_method(client: Client) -> None:
    by_method = {
        method: await scores(client, fusion=method) for method in ("z-score", "min-max", "rrf")
    }
    assert by_method["z-score"] == await scores(client)
    assert min(by_method["z-score"].values()) < 0
    assert 0.5 < max(by_method["min-max"].values()) <= 1
    assert max(by_method["rrf"].values()) <= 1 / 11


@pytest.mark.parametrize("method", ["z-score", "min-max", "rrf"])
async def test_lexical_weight_of_0_or_1_ranks_by_one_leg(client: Client, method: str) -> None:
    semantic = await ranked_ids(client, "/api/semantic-search")
    lexical = await ranked_ids(client, "/api/lexical-search")
    fused = await scores(client, fusion=method, lexical_weight=0)
    assert list(fused)[: len(semantic)] == semantic
    fused = await scores(client, fusion=method, lexical_weight=1)
    assert list(fused)[: len(lexical)] == lexical


async def test_fusion_parameters_in_query_string(client: Client) -> None:
    parameters = f"text_query={QUERY.replace(' ', '+')}&rerank=none&top_k=12"
    response = await client.get(f"{CASCADE}?{parameters}&fusion=rrf&lexical_weight=0.25")
    results = (await response.get_json())["results"]
    assert {result["_id"]: result["score"] for result in results} == await scores(
        client, fusion="rrf", lexical_weight=0.25
    )


async def test_fusion_defaults_to_settings(make_settings: MakeSettings) -> None:
    async with create_app(make_settings()).test_app() as app:
        client = app.test_client()
        usual = await scores(client)
        as_set = await scores(client, fusion="min-max", lexical_weight=0)
        half = await scores(client, fusion="min-max", lexical_weight=0.5)
    settings = make_settings(search_fusion="min-max", search_lexical_weight=0)
    async with create_app(settings).test_app() as app:
        client = app.test_client()
        assert await scores(client) == as_set
        assert await scores(client, lexical_weight=0.5) == half
        assert await scores(client, fusion="z-score", lexical_weight=0.5) == usual


async def test_fusion_settings_do_not_affect_single_leg_or_per_leg_rerank(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(search_fusion="rrf", search_lexical_weight=1)
    async with create_app(settings).test_app() as app:
        client = app.test_client()
        assert len(await ranked_ids(client, "/api/semantic-search")) == 12
        reranked = await scores(client, rerank="per-leg")
    assert reranked == {id: rerank_score(QUERY, RECORDS[id]) for id in reranked}


CASCADING_ONLY = "is supported only by cascading retrieval"


@pytest.mark.parametrize(
    ("path", "query", "hint"),
    [
        ("/api/semantic-search", "fusion=rrf", CASCADING_ONLY),
        ("/api/lexical-search", "fusion=z-score", CASCADING_ONLY),
        ("/api/semantic-search", "lexical_weight=0", CASCADING_ONLY),
        ("/api/lexical-search", "lexical_weight=1", CASCADING_ONLY),
        (CASCADE, "fusion=rrf&rerank=per-leg", "is not allowed with rerank=per-leg"),
        (CASCADE, "lexical_weight=0&rerank=per-leg", "is not allowed with rerank=per-leg"),
        (CASCADE, "fusion=sum", "must be 'z-score', 'min-max' or 'rrf'"),
        (CASCADE, "lexical_weight=-0.1", "must be greater than or equal to 0"),
        (CASCADE, "lexical_weight=1.01", "must be less than or equal to 1"),
        (CASCADE, "lexical_weight=half", "must be a number"),
        (CASCADE, "lexical_weight=nan", "must be a number"),
        (CASCADE, "lexical_weight=1e-1", "must be a number"),
        (CASCADE, "lexical_weight=", "must be a number"),
        (CASCADE, "lexical_weight=0.5&lexical_weight=0.6", "only once"),
        (CASCADE, "explain=maybe", "must be true or false"),
    ],
)
async def test_unsupported_fusion_parameter_is_rejected(
    client: Client, upstream: Upstream, path: str, query: str, hint: str
) -> None:
    response = await client.get(f"{path}?text_query=cat&{query}")
    body = await assert_error(response, 422, "invalid_request")
    assert body["errors"][0]["loc"] == [query.partition("=")[0]]
    assert hint in body["detail"]
    assert upstream.searches() == []


@pytest.mark.parametrize("value", [b'"0.5"', b"true", b"NaN", b"1e400", b"-1e-9", b"[0.5]"])
async def test_lexical_weight_in_body_must_be_a_number(client: Client, value: bytes) -> None:
    body = b'{"text_query": "cat", "lexical_weight": ' + value + b"}"
    headers = {"Content-Type": "application/json"}
    error = await assert_error(
        await client.post(CASCADE, data=body, headers=headers), 422, "invalid_request"
    )
    assert error["errors"][0]["loc"] == ["lexical_weight"]
