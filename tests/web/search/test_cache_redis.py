"""Tests for two apps that share one Redis, including its failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.errors import StartupFailed
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings, open_client
from tests.redis_server import RedisServer, redis_server, wait_until
from tests.upstream import Gate, Upstream
from tests.web.search.test_cache import CASCADE, LONG_TTL_S, SEMANTIC, cache_sources, get, write
from tests.web.search.test_cursors import ids, search

DEEP_PARAMS: dict[str, Any] = {"text_query": "the road before the winter", "top_k": 3, "depth": 12}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


ClientPair = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture
async def clients(make_settings: MakeSettings, redis: RedisServer) -> AsyncIterator[ClientPair]:
    """Clients of two apps that are set up as worker processes."""
    settings = make_settings(cache_ttl=LONG_TTL_S, redis_url=redis.url, web_concurrency=2)
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(open_client(create_app(settings))) for _ in range(2)
        ]
        yield one, other


async def is_cached(client: httpx.AsyncClient) -> bool:
    return cache_sources(await get(client)) == ["hit"]


async def test_redis_shares_answers_between_processes(
    clients: ClientPair, upstream: Upstream
) -> None:
    one, other = clients
    first = await get(one, CASCADE)
    calls = len(upstream.searches())
    second = await get(other, CASCADE)
    assert cache_sources(first, second) == ["miss", "hit"]
    assert len(upstream.searches()) == calls
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.json()["results"] == first.json()["results"]


async def test_redis_write_invalidates_other_process(clients: ClientPair) -> None:
    one, other = clients
    await get(one)
    assert cache_sources(await get(one), await get(other)) == ["hit", "hit"]
    assert (await write(other)).status_code == 200
    assert cache_sources(await get(one), await get(other)) == ["miss", "miss"]


async def test_redis_cursor_is_valid_in_other_process(clients: ClientPair) -> None:
    one, other = clients
    first = await search(one, SEMANTIC, **DEEP_PARAMS)
    whole = await search(one, SEMANTIC, **DEEP_PARAMS | {"top_k": 12})
    second = await search(other, SEMANTIC, cursor=first["cursor"])
    third = await search(one, SEMANTIC, cursor=second["cursor"])
    assert ids(second) + ids(third) == ids(whole)[3:9]


async def test_redis_write_during_shutdown_invalidates_other_process(
    make_settings: MakeSettings, redis: RedisServer, upstream: Upstream
) -> None:
    settings = make_settings(cache_ttl=LONG_TTL_S, redis_url=redis.url)
    async with open_client(create_app(settings)) as other:
        stopping = create_app(settings)
        gate = Gate()
        async with stopping.test_app():
            await get(other)
            assert await is_cached(other)
            upstream.behave(gate, "dense/records/namespaces/__default__/upsert")
            body = b'[{"_id": "one", "chunk_text": "x"}]'
            writer = AsgiRequest(stopping, "/api/records", "POST", body)
            await upstream.until(lambda: len(upstream.upserts("dense")) == 1)
            await writer.disconnect()
            asyncio.get_running_loop().call_soon(gate.opened.set)
        assert cache_sources(await get(other)) == ["miss"]


async def test_redis_restart_loses_only_cached_answers(
    clients: ClientPair, redis: RedisServer, upstream: Upstream
) -> None:
    one, other = clients
    await get(one)
    gate = Gate()
    with upstream.behaving(gate, "dense"):
        under_way = [
            asyncio.create_task(client.get(SEMANTIC, params={"text_query": f"cat {number}"}))
            for number, client in enumerate((one, other) * 5)
        ]
        await upstream.until(lambda: len(upstream.searches("dense")) == 11)
        redis.kill()
        gate.opened.set()
        assert {answer.status_code for answer in await asyncio.gather(*under_way)} == {200}
    assert cache_sources(await get(one), await get(other)) == ["miss", "miss"]
    assert (await search(one, SEMANTIC, **DEEP_PARAMS))["cursor"] is None
    redis.start()
    await wait_until(lambda: is_cached(one))
    await wait_until(lambda: is_cached(other))


async def has_cursor(client: httpx.AsyncClient) -> bool:
    return (await search(client, SEMANTIC, **DEEP_PARAMS))["cursor"] is not None


async def test_redis_hang_never_serves_invalidated_answer(
    clients: ClientPair, redis: RedisServer
) -> None:
    one, other = clients
    await get(one)
    assert await is_cached(other)
    redis.pause()
    answers = await asyncio.gather(*(get(client, CASCADE) for client in clients for _ in range(10)))
    assert set(cache_sources(*answers)) <= {"miss", "shared"}
    assert (await write(one)).status_code == 200
    redis.resume()
    await wait_until(lambda: has_cursor(one))
    await wait_until(lambda: has_cursor(other))
    assert cache_sources(await get(one), await get(other)) == ["miss", "miss"]


async def test_redis_down_at_startup_is_tolerated(
    make_settings: MakeSettings, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    url = f"redis://:pass-word@127.0.0.1:{redis.port}/0"
    async with open_client(
        create_app(make_settings(cache_ttl=LONG_TTL_S, redis_url=url))
    ) as client:
        assert cache_sources(await get(client), await get(client)) == ["miss", "miss"]
        assert (await client.get("/readyz")).status_code == 200
    assert "REDIS_URL" in caplog.text
    assert "pass-word" not in caplog.text


@pytest.mark.parametrize("option", ["colour=blue", "db=x"])
def test_invalid_redis_url_option_fails_startup(make_settings: MakeSettings, option: str) -> None:
    url = f"redis://:pass-word@localhost:6379/0?{option}"
    with pytest.raises(StartupFailed, match="REDIS_URL") as failed:
        create_app(make_settings(redis_url=url))
    assert "pass-word" not in failed.value.detail


async def test_redis_url_password_is_used(make_settings: MakeSettings) -> None:
    with redis_server("--requirepass", "a pass/word") as redis:
        url = f"redis://:a%20pass%2Fword@127.0.0.1:{redis.port}/0"
        settings = make_settings(cache_ttl=LONG_TTL_S, redis_url=url)
        async with open_client(create_app(settings)) as client:
            await get(client)
            assert await is_cached(client)
