"""Two apps that share one Redis, and what becomes of them when it goes away."""

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
from tests.web.search.test_cache import CASCADE, LONG_S, SEMANTIC, caches, get, write
from tests.web.search.test_cursors import ask, ids

DEEP: dict[str, Any] = {"text_query": "the road before the winter", "top_k": 3, "depth": 12}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


Two = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture
async def two(make_settings: MakeSettings, redis: RedisServer) -> AsyncIterator[Two]:
    """Clients of two apps, each of which thinks that there are more processes."""
    settings = make_settings(cache_ttl=LONG_S, redis_url=redis.url, web_concurrency=2)
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(open_client(create_app(settings))) for _ in range(2)
        ]
        yield one, other


async def keeps(client: httpx.AsyncClient) -> bool:
    return caches(await get(client)) == ["hit"]


async def test_what_one_has_searched_for_is_a_hit_for_the_other(
    two: Two, upstream: Upstream
) -> None:
    one, other = two
    first = await get(one, CASCADE)
    calls = len(upstream.searches())
    second = await get(other, CASCADE)
    assert caches(first, second) == ["miss", "hit"]
    assert len(upstream.searches()) == calls
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.json()["results"] == first.json()["results"]


async def test_what_one_writes_the_other_does_not_answer_from_before(two: Two) -> None:
    one, other = two
    await get(one)
    assert caches(await get(one), await get(other)) == ["hit", "hit"]
    assert (await write(other)).status_code == 200
    assert caches(await get(one), await get(other)) == ["miss", "miss"]


async def test_a_cursor_of_one_leads_on_in_the_other(two: Two) -> None:
    one, other = two
    first = await ask(one, SEMANTIC, **DEEP)
    whole = await ask(one, SEMANTIC, **DEEP | {"top_k": 12})
    second = await ask(other, SEMANTIC, cursor=first["cursor"])
    third = await ask(one, SEMANTIC, cursor=second["cursor"])
    assert ids(second) + ids(third) == ids(whole)[3:9]


async def test_what_is_written_while_one_stops_the_other_knows(
    make_settings: MakeSettings, redis: RedisServer, upstream: Upstream
) -> None:
    settings = make_settings(cache_ttl=LONG_S, redis_url=redis.url)
    async with open_client(create_app(settings)) as other:
        stopping = create_app(settings)
        gate = Gate()
        async with stopping.test_app():
            await get(other)
            assert await keeps(other)
            upstream.behave(gate, "dense/records/namespaces/__default__/upsert")
            body = b'[{"_id": "one", "chunk_text": "x"}]'
            writer = AsgiRequest(stopping, "/api/records", "POST", body)
            await upstream.until(lambda: len(upstream.upserts("dense")) == 1)
            await writer.disconnect()
            asyncio.get_running_loop().call_soon(gate.opened.set)
        assert caches(await get(other)) == ["miss"]


async def test_redis_may_die_and_come_back(
    two: Two, redis: RedisServer, upstream: Upstream
) -> None:
    one, other = two
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
    assert caches(await get(one), await get(other)) == ["miss", "miss"]
    assert (await ask(one, SEMANTIC, **DEEP))["cursor"] is None
    redis.start()
    await wait_until(lambda: keeps(one))
    await wait_until(lambda: keeps(other))


async def has_cursor(client: httpx.AsyncClient) -> bool:
    return (await ask(client, SEMANTIC, **DEEP))["cursor"] is not None


async def test_redis_may_hang_and_go_on_and_nobody_believes_what_a_write_has_made_old(
    two: Two, redis: RedisServer
) -> None:
    one, other = two
    await get(one)
    assert await keeps(other)
    redis.pause()
    answers = await asyncio.gather(*(get(client, CASCADE) for client in two for _ in range(10)))
    assert set(caches(*answers)) <= {"miss", "shared"}
    assert (await write(one)).status_code == 200
    redis.resume()
    await wait_until(lambda: has_cursor(one))
    await wait_until(lambda: has_cursor(other))
    assert caches(await get(one), await get(other)) == ["miss", "miss"]


async def test_a_redis_that_is_not_there_keeps_nobody_from_starting(
    make_settings: MakeSettings, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    url = f"redis://:pass-word@127.0.0.1:{redis.port}/0"
    async with open_client(create_app(make_settings(cache_ttl=LONG_S, redis_url=url))) as client:
        assert caches(await get(client), await get(client)) == ["miss", "miss"]
        assert (await client.get("/readyz")).status_code == 200
    assert "REDIS_URL" in caplog.text
    assert "pass-word" not in caplog.text


@pytest.mark.parametrize("option", ["colour=blue", "db=x"])
def test_an_address_with_an_odd_option_is_told_at_the_start(
    make_settings: MakeSettings, option: str
) -> None:
    url = f"redis://:pass-word@localhost:6379/0?{option}"
    with pytest.raises(StartupFailed, match="REDIS_URL") as failed:
        create_app(make_settings(redis_url=url))
    assert "pass-word" not in failed.value.detail


async def test_a_password_is_used(make_settings: MakeSettings) -> None:
    with redis_server("--requirepass", "a pass/word") as redis:
        url = f"redis://:a%20pass%2Fword@127.0.0.1:{redis.port}/0"
        settings = make_settings(cache_ttl=LONG_S, redis_url=url)
        async with open_client(create_app(settings)) as client:
            await get(client)
            assert await keeps(client)
