"""Tests for cached, shared and revalidated answers over HTTP."""

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
from tests.records.test_api import make_records
from tests.upstream import Gate, Status, Upstream

SEMANTIC = "/api/semantic-search"
CASCADE = "/api/cascading-retrieval"
PARAMS = {"text_query": "the warm cat"}
LONG_TTL_S = 3600
KEYS = ("the-first-of-the-keys", "the-second-of-the-keys")


@pytest.fixture
async def caching_client(make_settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app with a cache."""
    async with open_client(create_app(make_settings(cache_ttl=LONG_TTL_S))) as client:
        yield client


def cache_sources(*responses: httpx.Response) -> list[str]:
    """The cache status of each response, from its header and its receipt."""
    for response in responses:
        assert response.json()["receipt"]["cache"] == response.headers["X-Cache"]
    return [response.headers["X-Cache"] for response in responses]


async def get(client: httpx.AsyncClient, path: str = SEMANTIC, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.get(path, params=PARAMS, headers=named)
    assert response.status_code in {200, 304}, response.text
    return response


@pytest.mark.parametrize("path", [SEMANTIC, "/api/lexical-search", CASCADE])
async def test_repeated_search_is_cache_hit(
    caching_client: httpx.AsyncClient, upstream: Upstream, path: str
) -> None:
    first = await get(caching_client, path)
    calls = len(upstream.searches())
    second = await get(caching_client, path)
    posted = await caching_client.post(path, json={**PARAMS, "filter": None})
    assert cache_sources(first, second, posted) == ["miss", "hit", "hit"]
    assert len(upstream.searches()) == calls
    assert second.json()["results"] == first.json()["results"] == posted.json()["results"]
    assert second.headers["ETag"] == first.headers["ETag"]


async def test_cache_hit_has_receipt_without_stages(caching_client: httpx.AsyncClient) -> None:
    assert "Age" not in (await get(caching_client)).headers
    hit = await get(caching_client)
    receipt = hit.json()["receipt"]
    assert receipt["stages"] == receipt["missing"] == []
    assert receipt.keys() == {"ms", "cache", "age_ms", "missing", "stages"}
    assert receipt["age_ms"] >= 0
    assert hit.headers["Age"] == str(int(receipt["age_ms"] / 1000))
    assert hit.headers["Server-Timing"].startswith("total;dur=")


async def test_disabled_cache_reports_off(
    make_settings: MakeSettings, local: httpx.AsyncClient
) -> None:
    assert cache_sources(await get(local), await get(local)) == ["off", "off"]
    # Without Redis, a process does not know what another process writes.
    several = make_settings(cache_ttl=LONG_TTL_S, web_concurrency=2)
    async with open_client(create_app(several)) as client:
        assert cache_sources(await get(client), await get(client)) == ["off", "off"]


@pytest.mark.parametrize("control", ["no-cache", "No-Cache", "max-age=0", "foo, no-cache"])
async def test_no_cache_bypasses_cache_and_stores_answer(
    caching_client: httpx.AsyncClient, upstream: Upstream, control: str
) -> None:
    first = await get(caching_client)
    fresh = await get(caching_client, Cache_Control=control)
    assert cache_sources(first, fresh, await get(caching_client)) == ["miss", "bypass", "hit"]
    assert len(upstream.searches("dense")) == 2


async def test_no_store_is_not_stored(caching_client: httpx.AsyncClient) -> None:
    first = await get(caching_client, Cache_Control="no-store")
    assert cache_sources(first, await get(caching_client)) == ["bypass", "miss"]


@pytest.mark.parametrize("path", [SEMANTIC, CASCADE])
async def test_if_none_match_returns_304_without_body(
    caching_client: httpx.AsyncClient, path: str
) -> None:
    first = await get(caching_client, path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await get(caching_client, path, If_None_Match=known)
        assert (again.status_code, again.content) == (304, b"")
        assert "Content-Type" not in again.headers
        assert "Content-Length" not in again.headers
        for name in ("ETag", "Cache-Control", "X-Cache", "Age", "X-Request-Id"):
            assert name in again.headers
    assert (await get(caching_client, path, If_None_Match='"other"')).status_code == 200


async def test_304_without_cache_for_equal_results(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    tag = (await get(local)).headers["ETag"]
    assert (await get(local, If_None_Match=tag)).status_code == 304
    other = await local.get(SEMANTIC, params=PARAMS | {"top_k": 3}, headers={"If-None-Match": tag})
    assert other.status_code == 200
    posted = await local.post(SEMANTIC, json=PARAMS, headers={"If-None-Match": tag})
    assert posted.status_code == 200


async def test_head_has_headers_of_get(caching_client: httpx.AsyncClient) -> None:
    tag = (await get(caching_client)).headers["ETag"]
    head = await caching_client.head(SEMANTIC, params=PARAMS)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", tag)


async def test_concurrent_equal_searches_share_upstream_calls(
    caching_client: httpx.AsyncClient, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        asking = [asyncio.create_task(get(caching_client, CASCADE)) for _ in range(20)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await caching_client.get("/healthz")  # lets the other requests proceed
        gate.opened.set()
        answers = await asyncio.gather(*asking)
    assert sorted(cache_sources(*answers)) == ["miss"] + ["shared"] * 19
    for index in ("dense", "sparse", "control"):
        assert len(upstream.searches(index)) == 1
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert all(len(answer.json()["receipt"]["stages"]) == 4 for answer in answers)
    assert len({answer.json()["results"][0]["_id"] for answer in answers}) == 1


SEARCH_URL = f"{SEMANTIC}?text_query=the+warm+cat"


@pytest.fixture
async def open_app(make_settings: MakeSettings) -> AsyncIterator[Quart]:
    app = create_app(make_settings(cache_ttl=LONG_TTL_S))
    async with app.test_app():
        yield app


async def test_disconnect_does_not_cancel_shared_search(
    open_app: Quart, upstream: Upstream
) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        callers = [AsgiRequest(open_app, SEARCH_URL) for _ in range(3)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await callers[0].disconnect()
        await callers[2].disconnect()
        gate.opened.set()
        assert (await callers[1].headers())["x-cache"] == "shared"
    assert callers[0].sent == callers[2].sent == []
    (call,) = upstream.searches("dense")
    assert not call.abandoned


async def test_last_disconnect_cancels_upstream_call(open_app: Quart, upstream: Upstream) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        callers = [AsgiRequest(open_app, SEARCH_URL) for _ in range(3)]
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        for caller in callers:
            await caller.disconnect()
        await upstream.until(lambda: upstream.searches("dense")[0].abandoned)
        gate.opened.set()
    assert (await AsgiRequest(open_app, SEARCH_URL).headers())["x-cache"] == "miss"


async def test_disconnect_cancels_no_cache_search(open_app: Quart, upstream: Upstream) -> None:
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        caller = AsgiRequest(open_app, SEARCH_URL, headers={"Cache-Control": "no-cache"})
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        await caller.disconnect()
        await upstream.until(lambda: upstream.searches("dense")[0].abandoned)
        gate.opened.set()


async def test_error_is_shared_and_not_cached(
    caching_client: httpx.AsyncClient, upstream: Upstream
) -> None:
    with upstream.behaving(Status(401), "dense"):
        answers = await asyncio.gather(
            *(caching_client.get(SEMANTIC, params=PARAMS) for _ in range(5))
        )
    for answer in answers:
        assert answer.json()["code"] == "upstream_key_rejected"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 5
    assert cache_sources(await get(caching_client)) == ["miss"]


@pytest.mark.parametrize("leg", ["dense", "control"])
async def test_degraded_answer_is_not_cached(
    caching_client: httpx.AsyncClient, upstream: Upstream, leg: str
) -> None:
    with upstream.behaving(Status(500), leg):
        degraded = await get(caching_client, CASCADE)
    whole = await get(caching_client, CASCADE)
    assert (degraded.json()["degraded"], whole.json()["degraded"]) == (True, False)
    assert cache_sources(degraded, whole, await get(caching_client, CASCADE)) == [
        "miss",
        "miss",
        "hit",
    ]


async def write(client: httpx.AsyncClient, namespace: str = "__default__") -> httpx.Response:
    return await client.post("/api/records", params={"namespace": namespace}, json=make_records(1))


async def test_write_invalidates_only_its_namespace(caching_client: httpx.AsyncClient) -> None:
    other = {**PARAMS, "namespace": "other"}
    await get(caching_client)
    await caching_client.get(SEMANTIC, params=other)
    assert (await write(caching_client)).status_code == 200
    # Pinecone is eventually consistent, so results just after a write may be old.
    assert cache_sources(await get(caching_client), await get(caching_client)) == ["miss", "miss"]
    assert cache_sources(await caching_client.get(SEMANTIC, params=other)) == ["hit"]


async def delete_one(client: httpx.AsyncClient) -> httpx.Response:
    return await client.delete("/api/records/a")


async def delete_some(client: httpx.AsyncClient) -> httpx.Response:
    return await client.request("DELETE", "/api/records", json={"ids": ["a"]})


@pytest.mark.parametrize("change", [write, delete_one, delete_some])
@pytest.mark.parametrize("lost", [False, True])
async def test_failed_write_invalidates_cache(
    caching_client: httpx.AsyncClient, upstream: Upstream, change: Any, lost: bool
) -> None:
    await get(caching_client)
    upstream.behave(Status(403) if lost else None, "sparse")
    assert (await change(caching_client)).status_code == (502 if lost else 200)
    assert cache_sources(await get(caching_client)) == ["miss"]


async def test_write_of_disconnected_client_invalidates_cache(
    open_app: Quart, upstream: Upstream
) -> None:
    async def cache() -> str:
        return (await AsgiRequest(open_app, SEARCH_URL).headers())["x-cache"]

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


async def test_embedded_write_is_found_despite_cache(tmp_path: Any) -> None:
    settings = load_settings(data_dir=str(tmp_path), cache_ttl=LONG_TTL_S)
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


async def test_api_keys_do_not_share_cached_answers(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(cache_ttl=LONG_TTL_S, service_api_keys=",".join(KEYS))
    async with open_client(create_app(settings)) as client:
        first = await get(client, Api_Key=KEYS[0])
        other = await get(client, Api_Key=KEYS[1])
        again = await get(client, Authorization=f"Bearer {KEYS[0]}")
        assert cache_sources(first, other, again) == ["miss", "miss", "hit"]
        assert first.headers["Vary"] == "Authorization, Api-Key"
        assert (await client.get(SEMANTIC, params=PARAMS)).status_code == 401
    assert len(upstream.searches("dense")) == 2


OTHER_PARAMS: dict[str, Any] = {
    "text_query": "another text",
    "top_k": 3,
    "namespace": "other",
    "filter": {"kind": "c"},
    "fields": ["kind"],
    "match_terms": ["cat"],
    "typos": True,
    "highlight": True,
    "offsets": "utf16",
    "rerank": "union",
    "fusion": "rrf",
    "lexical_weight": 0.3,
    "explain": True,
    "depth": 77,
    "timeout_ms": 5000,
}


def test_cache_key_depends_on_every_parameter(make_settings: MakeSettings) -> None:
    """Add each new parameter to OTHER_PARAMS, with a value that is not its default."""
    assert OTHER_PARAMS.keys() == SearchRequest.model_fields.keys() - {"cursor"}
    settings = make_settings()
    keys = CacheKeys(settings)

    def key(**given: Any) -> str:
        request = SearchRequest.model_validate(PARAMS | given)
        query = request.to_query(settings, "none")
        return keys.key("semantic", query, request.timeout_ms or 10_000)

    made = {name: key(**{name: value}) for name, value in OTHER_PARAMS.items()} | {"none": key()}
    assert len(set(made.values())) == len(OTHER_PARAMS) + 1
    assert key(top_k=10, namespace="__default__", rerank="none", timeout_ms=10_000) == key()


def test_cache_key_depends_on_mode_and_settings(make_settings: MakeSettings) -> None:
    query = SearchQuery("text", 10, "n", "none", {"a": 1, "b": {"$gt": 2}})
    same = SearchQuery("text", 10, "n", "none", {"b": {"$gt": 2}, "a": 1})
    keys = CacheKeys(make_settings())
    assert keys.key("semantic", query, 1) == keys.key("semantic", same, 1)
    assert keys.key("semantic", query, 1) != keys.key("lexical", query, 1)
    alike = CacheKeys(make_settings(port=8001, cache_ttl=3))
    assert keys.key("semantic", query, 1) == alike.key("semantic", query, 1)
    reranking = CacheKeys(make_settings(pinecone_rerank_model="bge-reranker-v2-m3"))
    assert keys.key("semantic", query, 1) != reranking.key("semantic", query, 1)
