"""Answers that are kept, shared and revalidated, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.retrieval.query import SearchQuery
from service.settings import load_settings
from service.web.search.caching import CacheKeys
from service.web.search.request_schemas import SearchRequest
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import some
from tests.upstream import Gate, Status, Upstream

SEMANTIC = "/api/semantic-search"
CASCADE = "/api/cascading-retrieval"
ASKED = {"text_query": "the warm cat"}
LONG_S = 3600
KEYS = ("the-first-of-the-keys", "the-second-of-the-keys")


@pytest.fixture
async def keeping(make_settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that keeps answers for as long as a test lasts."""
    async with open_client(create_app(make_settings(cache_ttl=LONG_S))) as client:
        yield client


def caches(*responses: httpx.Response) -> list[str]:
    """Where answers say that they come from, which they say in two places."""
    for response in responses:
        assert response.json()["receipt"]["cache"] == response.headers["X-Cache"]
    return [response.headers["X-Cache"] for response in responses]


async def get(client: httpx.AsyncClient, path: str = SEMANTIC, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.get(path, params=ASKED, headers=named)
    assert response.status_code in {200, 304}, response.text
    return response


@pytest.mark.parametrize("path", [SEMANTIC, "/api/lexical-search", CASCADE])
async def test_a_second_one_is_a_hit_whichever_way_it_is_asked(
    keeping: httpx.AsyncClient, upstream: Upstream, path: str
) -> None:
    first = await get(keeping, path)
    calls = len(upstream.searches())
    second = await get(keeping, path)
    posted = await keeping.post(path, json={**ASKED, "filter": None})
    assert caches(first, second, posted) == ["miss", "hit", "hit"]
    assert len(upstream.searches()) == calls
    assert second.json()["results"] == first.json()["results"] == posted.json()["results"]
    assert second.headers["ETag"] == first.headers["ETag"]


async def test_the_receipt_of_a_hit_says_that_nothing_was_run(keeping: httpx.AsyncClient) -> None:
    assert "Age" not in (await get(keeping)).headers
    hit = await get(keeping)
    receipt = hit.json()["receipt"]
    assert receipt["stages"] == receipt["missing"] == []
    assert receipt.keys() == {"ms", "cache", "age_ms", "missing", "stages"}
    assert receipt["age_ms"] >= 0
    assert hit.headers["Age"] == str(int(receipt["age_ms"] / 1000))
    assert hit.headers["Server-Timing"].startswith("total;dur=")


async def test_where_nothing_is_kept_it_says_so(
    make_settings: MakeSettings, local: httpx.AsyncClient
) -> None:
    assert caches(await get(local), await get(local)) == ["off", "off"]
    # Another process would not know what this one keeps, nor this one what the other writes.
    several = make_settings(cache_ttl=LONG_S, web_concurrency=2)
    async with open_client(create_app(several)) as client:
        assert caches(await get(client), await get(client)) == ["off", "off"]


@pytest.mark.parametrize("control", ["no-cache", "No-Cache", "max-age=0", "foo, no-cache"])
async def test_who_asks_for_a_fresh_one_gets_it_and_leaves_it_to_the_others(
    keeping: httpx.AsyncClient, upstream: Upstream, control: str
) -> None:
    first = await get(keeping)
    fresh = await get(keeping, Cache_Control=control)
    assert caches(first, fresh, await get(keeping)) == ["miss", "bypass", "hit"]
    assert len(upstream.searches("dense")) == 2


async def test_what_is_not_to_be_stored_is_not(keeping: httpx.AsyncClient) -> None:
    first = await get(keeping, Cache_Control="no-store")
    assert caches(first, await get(keeping)) == ["bypass", "miss"]


@pytest.mark.parametrize("path", [SEMANTIC, CASCADE])
async def test_who_has_it_already_gets_a_304_without_a_body(
    keeping: httpx.AsyncClient, path: str
) -> None:
    first = await get(keeping, path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await get(keeping, path, If_None_Match=known)
        assert (again.status_code, again.content) == (304, b"")
        assert "Content-Type" not in again.headers
        assert "Content-Length" not in again.headers
        for name in ("ETag", "Cache-Control", "X-Cache", "Age", "X-Request-Id"):
            assert name in again.headers
    assert (await get(keeping, path, If_None_Match='"other"')).status_code == 200


async def test_a_304_needs_nothing_to_be_kept_but_equal_results(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    tag = (await get(local)).headers["ETag"]
    assert (await get(local, If_None_Match=tag)).status_code == 304
    other = await local.get(SEMANTIC, params=ASKED | {"top_k": 3}, headers={"If-None-Match": tag})
    assert other.status_code == 200
    posted = await local.post(SEMANTIC, json=ASKED, headers={"If-None-Match": tag})
    assert posted.status_code == 200


async def test_a_head_has_the_headers_of_a_get(keeping: httpx.AsyncClient) -> None:
    tag = (await get(keeping)).headers["ETag"]
    head = await keeping.head(SEMANTIC, params=ASKED)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", tag)


async def test_twenty_equal_ones_are_one_call_of_each_leg(
    keeping: httpx.AsyncClient, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        asking = [asyncio.create_task(get(keeping, CASCADE)) for _ in range(20)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await keeping.get("/healthz")  # whoever was on the way has had a turn
        gate.opened.set()
        answers = await asyncio.gather(*asking)
    assert sorted(caches(*answers)) == ["miss"] + ["shared"] * 19
    for index in ("dense", "sparse", "control"):
        assert len(upstream.searches(index)) == 1
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert all(len(answer.json()["receipt"]["stages"]) == 4 for answer in answers)
    assert len({answer.json()["results"][0]["_id"] for answer in answers}) == 1


TARGET = f"{SEMANTIC}?text_query=the+warm+cat"


@pytest.fixture
async def open_app(make_settings: MakeSettings) -> AsyncIterator[Quart]:
    app = create_app(make_settings(cache_ttl=LONG_S))
    async with app.test_app():
        yield app


async def test_who_hangs_up_does_not_take_it_from_the_others(
    open_app: Quart, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        callers = [AsgiRequest(open_app, TARGET) for _ in range(3)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await callers[0].disconnect()
        await callers[2].disconnect()
        gate.opened.set()
        assert (await callers[1].headers())["x-cache"] == "shared"
    assert callers[0].sent == callers[2].sent == []
    (call,) = upstream.searches("dense")
    assert not call.abandoned


async def test_when_everybody_has_hung_up_the_call_is_given_up_too(
    open_app: Quart, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        callers = [AsgiRequest(open_app, TARGET) for _ in range(3)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        for caller in callers:
            await caller.disconnect()
        await upstream.until(lambda: upstream.searches("dense")[0].abandoned)
        gate.opened.set()
    assert (await AsgiRequest(open_app, TARGET).headers())["x-cache"] == "miss"


async def test_who_asks_for_a_fresh_one_and_hangs_up_gives_up_the_call(
    open_app: Quart, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        caller = AsgiRequest(open_app, TARGET, headers={"Cache-Control": "no-cache"})
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await caller.disconnect()
        await upstream.until(lambda: upstream.searches("dense")[0].abandoned)
        gate.opened.set()


async def test_an_error_is_everybodys_and_is_not_kept(
    keeping: httpx.AsyncClient, upstream: Upstream
) -> None:
    with upstream.behaving(Status(401), "dense"):
        answers = await asyncio.gather(*(keeping.get(SEMANTIC, params=ASKED) for _ in range(5)))
    for answer in answers:
        assert answer.json()["code"] == "upstream_key_rejected"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 5
    assert caches(await get(keeping)) == ["miss"]


@pytest.mark.parametrize("leg", ["dense", "control"])
async def test_an_answer_that_had_to_do_without_a_stage_is_never_kept(
    keeping: httpx.AsyncClient, upstream: Upstream, leg: str
) -> None:
    with upstream.behaving(Status(500), leg):
        degraded = await get(keeping, CASCADE)
    whole = await get(keeping, CASCADE)
    assert (degraded.json()["degraded"], whole.json()["degraded"]) == (True, False)
    assert caches(degraded, whole, await get(keeping, CASCADE)) == ["miss", "miss", "hit"]


async def write(client: httpx.AsyncClient, namespace: str = "__default__") -> httpx.Response:
    return await client.post("/api/records", params={"namespace": namespace}, json=some(1))


async def test_a_write_makes_its_namespace_miss_and_no_other(keeping: httpx.AsyncClient) -> None:
    other = {**ASKED, "namespace": "other"}
    await get(keeping)
    await keeping.get(SEMANTIC, params=other)
    assert (await write(keeping)).status_code == 200
    # Pinecone shows a write later than it says that it has it: what is found now may be old.
    assert caches(await get(keeping), await get(keeping)) == ["miss", "miss"]
    assert caches(await keeping.get(SEMANTIC, params=other)) == ["hit"]


async def delete_one(client: httpx.AsyncClient) -> httpx.Response:
    return await client.delete("/api/records/a")


async def delete_some(client: httpx.AsyncClient) -> httpx.Response:
    return await client.request("DELETE", "/api/records", json={"ids": ["a"]})


@pytest.mark.parametrize("change", [write, delete_one, delete_some])
@pytest.mark.parametrize("lost", [False, True])
async def test_every_write_makes_it_miss_even_one_that_failed(
    keeping: httpx.AsyncClient, upstream: Upstream, change: Any, lost: bool
) -> None:
    await get(keeping)
    upstream.behave(Status(403) if lost else None, "sparse")
    assert (await change(keeping)).status_code == (502 if lost else 200)
    assert caches(await get(keeping)) == ["miss"]


async def test_a_write_whose_caller_has_gone_makes_it_miss(
    open_app: Quart, upstream: Upstream
) -> None:
    async def cache() -> str:
        return (await AsgiRequest(open_app, TARGET).headers())["x-cache"]

    assert [await cache(), await cache()] == ["miss", "hit"]
    gate = Gate()
    with upstream.behaving(gate, "dense/records/namespaces/__default__/upsert"):
        body = b'[{"_id": "one", "chunk_text": "x"}]'
        writer = AsgiRequest(open_app, "/api/records", "POST", body)
        await upstream.until(lambda: len(upstream.upserts("dense")) == 1)
        await writer.disconnect()
        assert await cache() == "hit"
        gate.opened.set()
        while await cache() == "hit":
            await asyncio.sleep(0)


async def test_over_the_embedded_engine_what_was_written_is_found(tmp_path: Any) -> None:
    settings = load_settings(data_dir=str(tmp_path), cache_ttl=LONG_S)
    async with open_client(create_app(settings)) as client:

        async def texts() -> list[str]:
            response = await get(client, "/api/lexical-search")
            return [result["chunk_text"] for result in response.json()["results"]]

        assert await texts() == []
        assert await texts() == []
        for text in ("a warm cat", "the cat is warm"):
            record = [{"_id": "a", "chunk_text": text}]
            await client.post("/api/records", params={"wait": "visible"}, json=record)
            assert await texts() == [text]
        await client.delete("/api/records/a", params={"wait": "visible"})
        assert await texts() == []


async def test_each_key_of_the_service_has_answers_of_its_own(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(cache_ttl=LONG_S, service_api_keys=",".join(KEYS))
    async with open_client(create_app(settings)) as client:
        first = await get(client, Api_Key=KEYS[0])
        other = await get(client, Api_Key=KEYS[1])
        again = await get(client, Authorization=f"Bearer {KEYS[0]}")
        assert caches(first, other, again) == ["miss", "miss", "hit"]
        assert first.headers["Vary"] == "Authorization, Api-Key"
        assert (await client.get(SEMANTIC, params=ASKED)).status_code == 401
    assert len(upstream.searches("dense")) == 2


OTHERS: dict[str, Any] = {
    "text_query": "another text",
    "top_k": 3,
    "namespace": "other",
    "filter": {"kind": "c"},
    "fields": ["kind"],
    "match_terms": ["cat"],
    "typos": True,
    "highlight": True,
    "rerank": "union",
    "fusion": "rrf",
    "lexical_weight": 0.3,
    "explain": True,
    "depth": 77,
    "timeout_ms": 5000,
}


def test_everything_that_can_be_asked_makes_another_answer(make_settings: MakeSettings) -> None:
    """A parameter that is added later is added here, with a value that is not its default."""
    assert OTHERS.keys() == SearchRequest.model_fields.keys() - {"cursor"}
    keys = CacheKeys(make_settings())

    def key(**given: Any) -> str:
        asked = SearchRequest.model_validate(ASKED | given)
        query = asked.to_query(
            top_k=10,
            namespace="__default__",
            rerank="none",
            fusion="z-score",
            lexical_weight=None,
            depth=0,
        )
        return keys.key("semantic", query, asked.timeout_ms or 10_000)

    made = {name: key(**{name: value}) for name, value in OTHERS.items()} | {"none": key()}
    assert len(set(made.values())) == len(OTHERS) + 1
    assert key(top_k=10, namespace="__default__", rerank="none", timeout_ms=10_000) == key()


def test_modes_and_services_have_keys_of_their_own(make_settings: MakeSettings) -> None:
    query = SearchQuery("text", 10, "n", "none", {"a": 1, "b": {"$gt": 2}})
    same = SearchQuery("text", 10, "n", "none", {"b": {"$gt": 2}, "a": 1})
    keys = CacheKeys(make_settings())
    assert keys.key("semantic", query, 1) == keys.key("semantic", same, 1)
    assert keys.key("semantic", query, 1) != keys.key("lexical", query, 1)
    alike = CacheKeys(make_settings(port=8001, cache_ttl=3))
    assert keys.key("semantic", query, 1) == alike.key("semantic", query, 1)
    reranking = CacheKeys(make_settings(pinecone_rerank_model="bge-reranker-v2-m3"))
    assert keys.key("semantic", query, 1) != reranking.key("semantic", query, 1)
