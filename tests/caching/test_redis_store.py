"""The cache store in a real Redis: shared by processes, and tolerant of a Redis that fails."""

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

SETTLE_S = 0.001  # shorter than a round trip to Redis
LONG_S = 3600.0
TIMEOUT_S = 2.0  # longer than the service waits: a busy machine may stall Redis


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def open_store(
    redis: RedisServer, scope: str = "scope", settle_s: float = SETTLE_S
) -> AsyncIterator[CacheStore]:
    store = RedisStore(redis.url, settle_s, TIMEOUT_S)
    await store.open(scope)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def two_stores(redis: RedisServer) -> AsyncIterator[tuple[CacheStore, CacheStore]]:
    """The stores of two processes."""
    async with open_store(redis) as one, open_store(redis) as other:
        yield one, other


async def fill_cache(store: CacheStore, value: bytes = b"value", key: str = "key") -> None:
    """Look up, store a value, and wait until Redis has it."""
    generation = (await store.look_up("n", key)).generation
    store.keep("n", key, generation, value, 60)
    await store.look_up("n", key)  # Redis answers in order, so it has executed the write


async def value_of(store: CacheStore, key: str = "key") -> bytes | None:
    return (await store.look_up("n", key)).value


async def is_settled(store: CacheStore) -> bool:
    return (await store.look_up("n", "key")).is_settled


async def test_answer_is_shared_between_stores(two_stores: tuple[CacheStore, CacheStore]) -> None:
    one, other = two_stores
    await fill_cache(one)
    found = await other.look_up("n", "key")
    assert (found.value, found.is_settled) == (b"value", True)
    assert 0 <= found.age_s < 60
    assert await value_of(other, "another") is None
    assert (await other.look_up("another", "key")).value is None


async def test_invalidate_applies_to_other_store_at_once(
    two_stores: tuple[CacheStore, CacheStore],
) -> None:
    one, other = two_stores
    await fill_cache(one)
    before = await one.look_up("n", "key")
    await other.invalidate("n")
    assert await value_of(one) is None
    one.keep("n", "key", before.generation, b"old", 60)
    assert await value_of(one) is None
    assert await value_of(other) is None
    await fill_cache(other, b"new")
    assert await value_of(one) == b"new"


async def test_namespace_is_not_settled_after_write_in_any_store(redis: RedisServer) -> None:
    async with (
        open_store(redis, settle_s=LONG_S) as one,
        open_store(redis, settle_s=LONG_S) as other,
    ):
        assert await is_settled(one)
        await one.invalidate("n")
        assert not await is_settled(one)
        assert not await is_settled(other)
        assert (await other.look_up("another", "key")).is_settled


async def test_every_key_in_redis_expires(redis: RedisServer) -> None:
    async with open_store(redis, settle_s=LONG_S) as store:
        await store.invalidate("n")
        await fill_cache(store)
        assert store.put("key", b"value", 60)
        assert await store.get("key") == b"value"
        async with Redis.from_url(redis.url, decode_responses=True) as client:
            names = await client.keys("*")
            kinds = {str(name).split(":")[2] for name in names}
            assert kinds >= {"answer", "generation", "value"}
            assert all(str(name).startswith("cascade:") for name in names)
            assert -1 not in [await client.pttl(name) for name in names]  # no expiry


async def test_stores_with_different_scopes_share_nothing(redis: RedisServer) -> None:
    async with open_store(redis, "here") as one, open_store(redis, "elsewhere") as other:
        await fill_cache(one)
        assert one.put("key", b"value", 60)
        assert await one.get("key") == b"value"
        assert await value_of(other) is None
        assert await other.get("key") is None
        await other.invalidate("n")
        assert await value_of(one) == b"value"


async def test_lost_generation_invalidates_answers(
    redis: RedisServer, two_stores: tuple[CacheStore, CacheStore]
) -> None:
    one, other = two_stores
    await fill_cache(one)
    async with Redis.from_url(redis.url) as client:
        (name,) = await client.keys("*:generation:*")
        await client.delete(name)
    assert await value_of(other) is None
    assert await value_of(one) is None


async def test_store_without_redis_misses_and_recovers(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    with caplog.at_level(logging.INFO, "service"):
        async with open_store(redis) as store:
            first = await store.look_up("n", "key")
            assert (first.value, first.is_settled) == (None, False)
            store.keep("n", "key", first.generation, b"value", 60)
            assert not store.put("key", b"value", 60)
            assert await store.get("key") is None
            await store.invalidate("n")
            assert (await store.look_up("n", "key")).generation != first.generation
            redis.start()
            await wait_until(lambda: is_settled(store))
            await fill_cache(store)
            assert await value_of(store) == b"value"
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert "REDIS_URL" in caplog.records[0].getMessage()


async def test_missed_invalidation_is_sent_before_store_is_settled(
    redis: RedisServer, two_stores: tuple[CacheStore, CacheStore]
) -> None:
    one, other = two_stores
    await fill_cache(one)
    redis.pause()
    await one.invalidate("n")
    redis.resume()
    assert await value_of(one) is None
    await wait_until(lambda: is_settled(one))
    assert await value_of(one) is None
    assert await value_of(other) is None


async def test_hanging_redis_times_out_and_recovers(
    two_stores: tuple[CacheStore, CacheStore], redis: RedisServer
) -> None:
    one, _ = two_stores
    await fill_cache(one)
    redis.pause()
    found = await asyncio.gather(*(one.look_up("n", "key") for _ in range(100)))
    assert {each.value for each in found} == {None}
    assert not any(each.is_settled for each in found)
    redis.resume()
    await wait_until(lambda: is_settled(one))
    assert await value_of(one) == b"value"


async def test_cancelled_lookup_leaves_connection_usable(
    two_stores: tuple[CacheStore, CacheStore],
) -> None:
    one, _ = two_stores
    await fill_cache(one, b"a", "a")
    await fill_cache(one, b"b", "b")
    for _ in range(50):
        cancelled = [asyncio.create_task(one.look_up("n", "a")) for _ in range(3)]
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        assert await value_of(one, "b") == b"b"
        await asyncio.wait(cancelled)


async def test_put_of_oversized_value_is_rejected(
    two_stores: tuple[CacheStore, CacheStore],
) -> None:
    one, _ = two_stores
    assert not one.put("key", b"x" * (MAX_WRITE_BYTES + 1), 60)
    large = b"x" * MAX_WRITE_BYTES
    accepted = [one.put(f"key {number}", large, 60) for number in range(20)]
    assert accepted == [True] * (MAX_QUEUED_BYTES // MAX_WRITE_BYTES) + [False] * (20 - 8)


async def test_redis_out_of_memory_disables_store() -> None:
    with redis_server("--maxmemory", "1") as redis:
        async with open_store(redis) as store:
            await store.invalidate("n")
            assert not await is_settled(store)
            assert not store.put("key", b"value", 60)


async def test_client_options_in_url_are_overridden(redis: RedisServer) -> None:
    url = f"{redis.url}?decode_responses=true&protocol=3&socket_timeout=9"
    store = RedisStore(url, SETTLE_S, TIMEOUT_S)
    await store.open("scope")
    await fill_cache(store)
    assert await value_of(store) == b"value"
    await store.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?colour=blue", "redis://127.0.0.1:1/?db=x"])
def test_unknown_url_option_is_rejected(url: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        RedisStore(url, SETTLE_S)
