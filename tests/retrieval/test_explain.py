"""Explanations: each number equals the result of a search without that stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from tests.conftest import Client, open_client
from tests.upstream import Status, Upstream, Wrong

QUERY = "a cat at dawn before the afternoon in winter"  # the two legs rank it differently
CASCADE = "cascading-retrieval"
ALONE = {"semantic": "semantic-search", "lexical": "lexical-search"}
OTHER = {"semantic": "lexical", "lexical": "semantic"}
Position = dict[str, Any]


async def search(client: Any, path: str, **body: Any) -> Any:
    response = await client.post(f"/api/{path}", json={"text_query": QUERY, **body})
    assert response.status_code == 200
    return response.json() if isinstance(client, httpx.AsyncClient) else await response.get_json()


async def ranked_positions(client: Any, path: str, **body: Any) -> dict[str, Position]:
    """The rank and score of each record in a search without explanations."""
    results = (await search(client, path, **body))["results"]
    return {
        result["_id"]: {"rank": rank, "score": result["score"]}
        for rank, result in enumerate(results, 1)
    }


async def explain(client: Any, path: str = CASCADE, **body: Any) -> dict[str, Any]:
    answer = await search(client, path, explain=True, **body)
    return {result["_id"]: result["explain"] for result in answer["results"]}


def rank_within(top_k: int, rank: int | None) -> int | None:
    """The rank as an answer of `top_k` results would show it."""
    return rank if rank is not None and rank <= top_k else None


def rank_in(ranking: dict[str, Position], id: str) -> int | None:
    return ranking[id]["rank"] if id in ranking else None


@pytest.mark.parametrize("top_k", [1, 3, 5, 12])
@pytest.mark.parametrize("rerank", ["none", "union", "per-leg"])
async def test_rank_without_leg_is_rank_in_search_by_other_leg(
    client: Client, rerank: str, top_k: int
) -> None:
    options: dict[str, Any] = {"top_k": top_k, "rerank": rerank}
    explanations = await explain(client, **options)
    assert explanations
    for leg, other in OTHER.items():
        alone = await ranked_positions(client, ALONE[other], **options)
        for id, explanation in explanations.items():
            without = rank_within(top_k, explanation["rank_without"][leg])
            assert without == rank_in(alone, id)
            if rerank != "union":
                assert explanation["legs"][other] == alone.get(id)


@pytest.mark.parametrize("top_k", [1, 3, 5, 12])
@pytest.mark.parametrize(
    "fusing", [{}, {"fusion": "rrf"}, {"fusion": "min-max", "lexical_weight": 0.8}]
)
async def test_rank_without_rerank_is_rank_in_search_without_rerank(
    client: Client, fusing: dict[str, Any], top_k: int
) -> None:
    options = {"top_k": top_k, **fusing}
    explanations = await explain(client, rerank="union", **options)
    as_fused = await ranked_positions(client, CASCADE, rerank="none", **options)
    as_reranked = await ranked_positions(client, CASCADE, rerank="union", **options)
    alone = {leg: await ranked_positions(client, path, top_k=top_k) for leg, path in ALONE.items()}
    assert explanations.keys() == as_reranked.keys()
    for id, explanation in explanations.items():
        assert list(explanation["legs"]) == ["semantic", "lexical"]
        for leg, position in explanation["legs"].items():
            assert position == alone[leg].get(id)
        fused = explanation["fused"]
        assert (fused if fused["rank"] <= top_k else None) == as_fused.get(id)
        assert explanation["reranked"] == as_reranked[id]
        assert explanation["rank_without"]["rerank"] == fused["rank"]


async def test_stages_change_ranks_of_test_query(
    client: Client,
) -> None:
    fused = (await explain(client, top_k=3, rerank="none")).values()
    reranked = (await explain(client, top_k=3, rerank="union")).values()
    for explanations, position, stages in (
        (fused, "fused", ("semantic", "lexical")),
        (reranked, "reranked", ("lexical", "rerank")),
    ):
        for stage in stages:
            ranks = {(each["rank_without"][stage], each[position]["rank"]) for each in explanations}
            assert any(without is not None and without != rank for without, rank in ranks)
        assert any(None in each["rank_without"].values() for each in explanations)


@pytest.mark.parametrize(("leg", "path"), ALONE.items())
async def test_explanation_of_single_leg_has_that_leg_only(
    client: Client, leg: str, path: str
) -> None:
    alone = await ranked_positions(client, path, top_k=4)
    assert await explain(client, path, top_k=4) == {
        id: {"legs": {leg: position}, "fused": None, "reranked": None, "rank_without": {leg: None}}
        for id, position in alone.items()
    }
    for explanation in (await explain(client, path, top_k=4, rerank="union")).values():
        rank = explanation["legs"][leg]["rank"]
        assert explanation["rank_without"] == {leg: None, "rerank": rank}


async def test_explanation_leaves_out_failed_stages(client: Client, upstream: Upstream) -> None:
    upstream.behave(Status(404), "control")
    for explanation in (await explain(client, rerank="union")).values():
        assert explanation["reranked"] is None
        assert explanation["rank_without"].keys() == {"semantic", "lexical"}
    upstream.behave(Status(404), "dense")
    alone = await ranked_positions(client, ALONE["lexical"])
    assert await explain(client, rerank="none") == {
        id: {
            "legs": {"lexical": position},
            "fused": None,
            "reranked": None,
            "rank_without": {"lexical": None},
        }
        for id, position in alone.items()
    }


async def test_explanation_is_absent_unless_requested(client: Client) -> None:
    for options in ({}, {"explain": False}):
        for result in (await search(client, CASCADE, **options))["results"]:
            assert "explain" not in result


async def test_explain_works_with_get(client: Client) -> None:
    options = {"text_query": QUERY, "explain": "true", "top_k": "3"}
    response = await client.get(f"/api/{CASCADE}", query_string=options)
    results = (await response.get_json())["results"]
    assert {each["_id"]: each["explain"] for each in results} == await explain(client, top_k=3)


async def test_field_named_explain_is_replaced_only_by_explanation(
    client: Client, upstream: Upstream
) -> None:
    hits = [{"_id": "a", "_score": 0.9, "fields": {"explain": "yourself"}}]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), "dense")
    path = ALONE["semantic"]
    (own,) = (await search(client, path, fields=["*"]))["results"]
    assert own["explain"] == "yourself"
    assert (await explain(client, path, fields=["*"]))["a"]["legs"]["semantic"]["rank"] == 1


async def test_embedded_engine_explanation_equals_its_searches(tmp_path: Path) -> None:
    """Its legs request more hits than the answer has, so there are ranks beyond the answer."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_client(create_app(settings)) as client:
        for query in ("dishwasher E61", "spicy mouth", "how long does bread keep"):
            options: dict[str, Any] = {"text_query": query, "top_k": 10}
            explanations = await explain(client, **options, rerank="union")
            whole: dict[str, Any] = {"text_query": query, "top_k": 50}
            as_fused = await ranked_positions(client, CASCADE, **whole, rerank="none")
            alone = {
                leg: await ranked_positions(client, path, **whole) for leg, path in ALONE.items()
            }
            assert len(explanations) == 10
            for id, explanation in explanations.items():
                assert rank_within(50, explanation["rank_without"]["rerank"]) == rank_in(
                    as_fused, id
                )
                for leg, position in explanation["legs"].items():
                    assert position == alone[leg].get(id)
            for explanation in (await explain(client, **options, rerank="none")).values():
                for leg, other in OTHER.items():
                    position = explanation["legs"][other]
                    assert explanation["rank_without"][leg] == (position and position["rank"])
