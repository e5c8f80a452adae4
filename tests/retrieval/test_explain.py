"""Explanations: each number in them is the one that a search without that stage answers with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from tests.conftest import Client, open_client
from tests.upstream import Status, Upstream, Wrong

QUERY = "a cat at dawn before the afternoon in winter"  # about which both legs disagree
CASCADE = "cascading-retrieval"
ALONE = {"semantic": "semantic-search", "lexical": "lexical-search"}
OTHER = {"semantic": "lexical", "lexical": "semantic"}
Place = dict[str, Any]


async def ask(client: Any, path: str, **body: Any) -> Any:
    response = await client.post(f"/api/{path}", json={"text_query": QUERY, **body})
    assert response.status_code == 200
    return response.json() if isinstance(client, httpx.AsyncClient) else await response.get_json()


async def places(client: Any, path: str, **body: Any) -> dict[str, Place]:
    """Where a search without explanations puts each record."""
    results = (await ask(client, path, **body))["results"]
    return {
        result["_id"]: {"rank": rank, "score": result["score"]}
        for rank, result in enumerate(results, 1)
    }


async def explained(client: Any, path: str = CASCADE, **body: Any) -> dict[str, Any]:
    answer = await ask(client, path, explain=True, **body)
    return {result["_id"]: result["explain"] for result in answer["results"]}


def rank_within(top_k: int, rank: int | None) -> int | None:
    """The rank as an answer of `top_k` results would show it."""
    return rank if rank is not None and rank <= top_k else None


def rank_in(ranking: dict[str, Place], id: str) -> int | None:
    return ranking[id]["rank"] if id in ranking else None


@pytest.mark.parametrize("top_k", [1, 3, 5, 12])
@pytest.mark.parametrize("rerank", ["none", "union", "per-leg"])
async def test_a_rank_without_a_leg_is_the_rank_in_a_search_by_the_other(
    client: Client, rerank: str, top_k: int
) -> None:
    asked: dict[str, Any] = {"top_k": top_k, "rerank": rerank}
    explanations = await explained(client, **asked)
    assert explanations
    for leg, other in OTHER.items():
        alone = await places(client, ALONE[other], **asked)
        for id, explanation in explanations.items():
            without = rank_within(top_k, explanation["rank_without"][leg])
            assert without == rank_in(alone, id)
            if rerank != "union":
                assert explanation["legs"][other] == alone.get(id)


@pytest.mark.parametrize("top_k", [1, 3, 5, 12])
@pytest.mark.parametrize(
    "fusing", [{}, {"fusion": "rrf"}, {"fusion": "min-max", "lexical_weight": 0.8}]
)
async def test_a_rank_without_the_rerank_is_the_rank_in_a_search_that_does_not_rerank(
    client: Client, fusing: dict[str, Any], top_k: int
) -> None:
    asked = {"top_k": top_k, **fusing}
    explanations = await explained(client, rerank="union", **asked)
    as_fused = await places(client, CASCADE, rerank="none", **asked)
    as_reranked = await places(client, CASCADE, rerank="union", **asked)
    alone = {leg: await places(client, path, top_k=top_k) for leg, path in ALONE.items()}
    assert explanations.keys() == as_reranked.keys()
    for id, explanation in explanations.items():
        assert list(explanation["legs"]) == ["semantic", "lexical"]
        for leg, place in explanation["legs"].items():
            assert place == alone[leg].get(id)
        fused = explanation["fused"]
        assert (fused if fused["rank"] <= top_k else None) == as_fused.get(id)
        assert explanation["reranked"] == as_reranked[id]
        assert explanation["rank_without"]["rerank"] == fused["rank"]


async def test_stages_make_a_difference_here_so_that_the_tests_above_say_something(
    client: Client,
) -> None:
    fused = (await explained(client, top_k=3, rerank="none")).values()
    reranked = (await explained(client, top_k=3, rerank="union")).values()
    for explanations, place, stages in (
        (fused, "fused", ("semantic", "lexical")),
        (reranked, "reranked", ("lexical", "rerank")),
    ):
        for stage in stages:
            ranks = {(each["rank_without"][stage], each[place]["rank"]) for each in explanations}
            assert any(without is not None and without != rank for without, rank in ranks)
        assert any(None in each["rank_without"].values() for each in explanations)


@pytest.mark.parametrize(("leg", "path"), ALONE.items())
async def test_a_search_by_one_leg_has_that_leg_and_nothing_without_it(
    client: Client, leg: str, path: str
) -> None:
    alone = await places(client, path, top_k=4)
    assert await explained(client, path, top_k=4) == {
        id: {"legs": {leg: place}, "fused": None, "reranked": None, "rank_without": {leg: None}}
        for id, place in alone.items()
    }
    for explanation in (await explained(client, path, top_k=4, rerank="union")).values():
        rank = explanation["legs"][leg]["rank"]
        assert explanation["rank_without"] == {leg: None, "rerank": rank}


async def test_stages_that_were_lost_took_no_part(client: Client, upstream: Upstream) -> None:
    upstream.behave(Status(404), "control")
    for explanation in (await explained(client, rerank="union")).values():
        assert explanation["reranked"] is None
        assert explanation["rank_without"].keys() == {"semantic", "lexical"}
    upstream.behave(Status(404), "dense")
    alone = await places(client, ALONE["lexical"])
    assert await explained(client, rerank="none") == {
        id: {
            "legs": {"lexical": place},
            "fused": None,
            "reranked": None,
            "rank_without": {"lexical": None},
        }
        for id, place in alone.items()
    }


async def test_nothing_is_explained_that_nobody_asked_for(client: Client) -> None:
    for asked in ({}, {"explain": False}):
        for result in (await ask(client, CASCADE, **asked))["results"]:
            assert "explain" not in result


async def test_get_explains_too(client: Client) -> None:
    asked = {"text_query": QUERY, "explain": "true", "top_k": "3"}
    response = await client.get(f"/api/{CASCADE}", query_string=asked)
    results = (await response.get_json())["results"]
    assert {each["_id"]: each["explain"] for each in results} == await explained(client, top_k=3)


async def test_a_field_of_that_name_gives_way_only_to_an_explanation(
    client: Client, upstream: Upstream
) -> None:
    hits = [{"_id": "a", "_score": 0.9, "fields": {"explain": "yourself"}}]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), "dense")
    path = ALONE["semantic"]
    (own,) = (await ask(client, path, fields=["*"]))["results"]
    assert own["explain"] == "yourself"
    assert (await explained(client, path, fields=["*"]))["a"]["legs"]["semantic"]["rank"] == 1


async def test_the_embedded_engine_explains_itself_the_same_way(tmp_path: Path) -> None:
    """It asks its legs for more than it answers with: ranks beyond the answer are told as well."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_client(create_app(settings)) as client:
        for query in ("dishwasher E61", "spicy mouth", "how long does bread keep"):
            asked: dict[str, Any] = {"text_query": query, "top_k": 10}
            explanations = await explained(client, **asked, rerank="union")
            whole: dict[str, Any] = {"text_query": query, "top_k": 50}
            as_fused = await places(client, CASCADE, **whole, rerank="none")
            alone = {leg: await places(client, path, **whole) for leg, path in ALONE.items()}
            assert len(explanations) == 10
            for id, explanation in explanations.items():
                assert rank_within(50, explanation["rank_without"]["rerank"]) == rank_in(
                    as_fused, id
                )
                for leg, place in explanation["legs"].items():
                    assert place == alone[leg].get(id)
            for explanation in (await explained(client, **asked, rerank="none")).values():
                for leg, other in OTHER.items():
                    place = explanation["legs"][other]
                    assert explanation["rank_without"][leg] == (place and place["rank"])
