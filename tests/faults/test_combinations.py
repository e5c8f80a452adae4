"""Combined faults: the response has what is available, and names what is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.app import create_app
from service.indexes.latency_tracker import MIN_SAMPLES
from tests.conftest import Client, MakeSettings
from tests.faults.combinations import COMBINATIONS, FAULTS, STAGES, find_violation
from tests.upstream import Delay, Flaky, Hang, Status, Upstream

CASCADE = "/api/cascading-retrieval"
TIMEOUT_MS = 2500  # of which a busy machine needs some for the stages that work


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("broken", COMBINATIONS, ids="+".join)
async def test_degraded_response_names_missing_stages(
    client: Client, upstream: Upstream, fault: str, broken: tuple[str, ...]
) -> None:
    upstream.behave(FAULTS[fault], *(STAGES[stage] for stage in broken))
    body = {"text_query": "the cat", "timeout_ms": TIMEOUT_MS, "rerank": "union"}
    response = await client.post(CASCADE, json=body)
    assert find_violation(response.status_code, await response.get_json(), broken) is None


async def ask(client: Client, path: str, **body: Any) -> Any:
    response = await client.post(f"/api/{path}", json={"text_query": "the cat"} | body)
    assert response.status_code == 200
    return await response.get_json()


async def test_hanging_leg_leaves_time_for_reranker(client: Client, upstream: Upstream) -> None:
    upstream.behave(Hang(), "dense")
    answer = await ask(client, "cascading-retrieval", timeout_ms=TIMEOUT_MS)
    assert answer["receipt"]["missing"] == ["semantic"]
    assert len(upstream.searches("control")) == 1


async def test_reranker_is_skipped_without_time(client: Client, upstream: Upstream) -> None:
    """Its usual latency exceeds the remaining time."""
    with upstream.behaving(Delay(1.5), "control/rerank"):
        known = [
            ask(client, "semantic-search", rerank="union", text_query=f"cat {n}")
            for n in range(MIN_SAMPLES)
        ]
        await asyncio.gather(*known)
    upstream.behave(Delay(1.25), "dense")
    upstream.calls.clear()
    answer = await ask(client, "semantic-search", rerank="union", timeout_ms=TIMEOUT_MS)
    assert answer["receipt"]["missing"] == ["rerank"]
    stages = {stage["stage"]: stage for stage in answer["receipt"]["stages"]}
    assert stages["rerank"] | {"ms": 0} == {
        "stage": "rerank",
        "status": "skipped",
        "ms": 0,
        "candidates": 0,
        "usage": {},
        "error": "no_time",
        "attempts": 0,
        "fallback": "fused",
    }
    assert upstream.searches("control") == []


async def test_server_timing_names_failed_stage(client: Client, upstream: Upstream) -> None:
    upstream.behave(Status(503), "dense")
    response = await client.post("/api/cascading-retrieval", json={"text_query": "the cat"})
    stages = [stage.split(";") for stage in response.headers["Server-Timing"].split(", ")]
    assert {name: rest[1:] for name, *rest in stages} == {
        "semantic": ["desc=failed"],
        "lexical": [],
        "fuse": [],
        "rerank": [],
        "total": [],
    }


async def test_receipt_counts_attempts(client: Client, upstream: Upstream) -> None:
    upstream.behave(Flaky(Status(503), 1), "dense")
    upstream.behave(Status(503), "sparse")
    answer = await ask(client, "cascading-retrieval")
    attempts = {stage["stage"]: stage["attempts"] for stage in answer["receipt"]["stages"]}
    assert attempts["semantic"] == len(upstream.searches("dense")) == 2
    assert attempts["lexical"] == len(upstream.searches("sparse")) == 2
    assert attempts["rerank"] == len(upstream.searches("control")) == 1


@pytest.mark.parametrize("fault", ["hang", "503", "garbage"])
@pytest.mark.parametrize("broken", [(), ("semantic",)], ids=["both legs", "one leg"])
async def test_failed_per_leg_reranker_keeps_leg_results(
    make_settings: MakeSettings, upstream: Upstream, fault: str, broken: tuple[str, ...]
) -> None:
    """Document indexes are reranked after the search, whose results remain."""
    settings = make_settings(pinecone_dialect="documents")
    async with create_app(settings).test_app() as app:
        upstream.behave(FAULTS[fault], *(STAGES[stage] for stage in (*broken, "rerank")))
        answer = await ask(
            app.test_client(), "cascading-retrieval", rerank="per-leg", timeout_ms=TIMEOUT_MS
        )
    assert sorted(answer["receipt"]["missing"]) == sorted((*broken, "rerank"))
    assert answer["degraded"] is True
    assert answer["results"]
