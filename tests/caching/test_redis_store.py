"""A store in a real Redis: what processes tell each other through it, and what if it goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from service.caching.redis_connection import MAX_QUEUED_BYTES, MAX_WRITE_BYTES
from service.caching.redis_store import RedisStore
from service.caching.store import CacheStore
from tests.redis_server import RedisServer, redis_server, wait_until

SETTLE_S = 0.001  # over before the next answer of Redis
LONG_S = 3600.0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def opened(
    redis: RedisServer, scope: str = "scope", settle_s: float = SETTLE_S
) -> AsyncIterator[CacheStore]:
    store = RedisStore(redis.url, settle_s)
    await store.open(scope)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def two(redis: RedisServer) -> AsyncIterator[tuple[CacheStore, CacheStore]]:
    """The stores of two processes."""
    async with opened(redis) as one, opened(redis) as other:
        yield one, other


async def keep(store: CacheStore, value: bytes = b"value", key: str = "key") -> None:
    """Look up, search, keep; it is kept when Redis has it."""
    generation = (await store.look_up("n", key)).generation
    store.keep("n", key, generation, value, 60)
    await store.look_up("n", key)  # what was said before has been heard


async def value_of(store: CacheStore, key: str = "key") -> bytes | None:
    return (await store.look_up("n", key)).value


async def settled(store: CacheStore) -> bool:
    return (await store.look_up("n", "key")).is_settled


async def test_what_one_keeps_the_other_finds(two: tuple[CacheStore, CacheStore]) -> None:
    one, other = two
    await keep(one)
    found = await other.look_up("n", "key")
    assert (found.value, found.is_settled) == (b"value", True)
    assert 0 <= found.age_s < 60
    assert await value_of(other, "another") is None
    assert (await other.look_up("another", "key")).value is None


async def test_what_one_writes_the_other_knows_at_once(two: tuple[CacheStore, CacheStore]) -> None:
    one, other = two
    await keep(one)
    before = await one.look_up("n", "key")
    await other.invalidate("n")
    assert await value_of(one) is None
    one.keep("n", "key", before.generation, b"old", 60)
    assert await value_of(one) is None
    assert await value_of(other) is None
    await keep(other, b"new")
    assert await value_of(one) == b"new"


async def test_after_a_write_nobody_keeps_anything_for_a_while(redis: RedisServer) -> None:
    async with opened(redis, settle_s=LONG_S) as one, opened(redis, settle_s=LONG_S) as other:
        assert await settled(one)
        await one.invalidate("n")
        assert not await settled(one)
        assert not await settled(other)
        assert (await other.look_up("another", "key")).is_settled


async def test_everything_in_redis_has_an_end(redis: RedisServer) -> None:
    async with opened(redis, settle_s=LONG_S) as store:
        await store.invalidate("n")
        await keep(store)
        assert store.put("key", b"value", 60)
        assert await store.get("key") == b"value"
        async with Redis.from_url(redis.url, decode_responses=True) as client:
            names = await client.keys("*")
            kinds = {str(name).split(":")[2] for name in names}
            assert kinds >= {"answer", "generation", "value"}
            assert all(str(name).startswith("cascade:") for name in names)
            assert -1 not in [await client.pttl(name) for name in names]  # which means: for ever


async def test_services_that_search_elsewhere_share_nothing(redis: RedisServer) -> None:
    async with opened(redis, "here") as one, opened(redis, "elsewhere") as other:
        await keep(one)
        assert one.put("key", b"value", 60)
        assert await one.get("key") == b"value"
        assert await value_of(other) is None
        assert await other.get("key") is None
        await other.invalidate("n")
        assert await value_of(one) == b"value"


async def test_a_generation_that_redis_has_lost_never_comes_back(
    redis: RedisServer, two: tuple[CacheStore, CacheStore]
) -> None:
    one, other = two
    await keep(one)
    async with Redis.from_url(redis.url) as client:
        (name,) = await client.keys("*:generation:*")
        await client.delete(name)
    assert await value_of(other) is None
    assert await value_of(one) is None


async def test_without_redis_there_is_nothing_and_nobody_waits(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    with caplog.at_level(logging.INFO, "service"):
        async with opened(redis) as store:
            first = await store.look_up("n", "key")
            assert (first.value, first.is_settled) == (None, False)
            store.keep("n", "key", first.generation, b"value", 60)
            assert not store.put("key", b"value", 60)
            assert await store.get("key") is None
            await store.invalidate("n")
            assert (await store.look_up("n", "key")).generation != first.generation
            redis.start()
            await wait_until(lambda: settled(store))
            await keep(store)
            assert await value_of(store) == b"value"
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert "REDIS_URL" in caplog.records[0].getMessage()


async def test_a_write_that_redis_did_not_hear_of_is_told_before_anything_is_believed(
    redis: RedisServer, two: tuple[CacheStore, CacheStore]
) -> None:
    one, other = two
    await keep(one)
    redis.pause()
    await one.invalidate("n")
    redis.resume()
    assert await value_of(one) is None
    await wait_until(lambda: settled(one))
    assert await value_of(one) is None
    assert await value_of(other) is None


async def test_a_redis_that_hangs_is_given_up_and_found_again(
    two: tuple[CacheStore, CacheStore], redis: RedisServer
) -> None:
    one, _ = two
    await keep(one)
    redis.pause()
    found = await asyncio.gather(*(one.look_up("n", "key") for _ in range(100)))
    assert {each.value for each in found} == {None}
    assert not any(each.is_settled for each in found)
    redis.resume()
    await wait_until(lambda: settled(one))
    assert await value_of(one) == b"value"


async def test_cancelled_lookup_leaves_connection_usable(
    two: tuple[CacheStore, CacheStore],
) -> None:
    one, _ = two
    await keep(one, b"a", "a")
    await keep(one, b"b", "b")
    for _ in range(50):
        given_up = [asyncio.create_task(one.look_up("n", "a")) for _ in range(3)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        assert await value_of(one, "b") == b"b"
        await asyncio.wait(given_up)


async def test_put_of_oversized_value_is_refused(
    two: tuple[CacheStore, CacheStore],
) -> None:
    one, _ = two
    assert not one.put("key", b"x" * (MAX_WRITE_BYTES + 1), 60)
    large = b"x" * MAX_WRITE_BYTES
    taken = [one.put(f"key {number}", large, 60) for number in range(20)]
    assert taken == [True] * (MAX_QUEUED_BYTES // MAX_WRITE_BYTES) + [False] * (20 - 8)


async def test_a_redis_that_takes_no_writes_is_as_good_as_none() -> None:
    with redis_server("--maxmemory", "1") as redis:
        async with opened(redis) as store:
            await store.invalidate("n")
            assert not await settled(store)
            assert not store.put("key", b"value", 60)


async def test_an_option_that_concerns_only_us_does_no_harm(redis: RedisServer) -> None:
    store = RedisStore(f"{redis.url}?decode_responses=true&protocol=3&socket_timeout=9", SETTLE_S)
    await store.open("scope")
    await keep(store)
    assert await value_of(store) == b"value"
    await store.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?colour=blue", "redis://127.0.0.1:1/?db=x"])
def test_an_address_with_options_that_there_are_not_is_refused(url: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        RedisStore(url, SETTLE_S)
