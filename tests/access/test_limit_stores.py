"""The limit stores: in memory, and in a real Redis that may fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from service.access.limiting.memory_store import MemoryLimitStore
from service.access.limiting.redis_store import RedisLimitStore
from service.access.limiting.store import CallerLimits, LimitStore
from service.access.limits import Quota, Rate, Usage
from tests.redis_server import RedisServer, redis_server, wait_until

TIMEOUT_S = 2.0  # longer than the service waits: a busy machine may stall Redis
ONE = Usage(requests=1)
SLOW = Rate(1, 86_400, burst=3)  # nothing runs down during a test


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def redis_store(redis: RedisServer, scope: str = "scope") -> AsyncIterator[LimitStore]:
    store = RedisLimitStore(redis.url, TIMEOUT_S)
    await store.open(scope)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    """Each kind of store, empty."""
    if request.param == "memory":
        yield MemoryLimitStore()
        return
    redis: RedisServer = request.getfixturevalue("shared_redis")
    async with redis_store(redis, scope=request.node.name) as store:
        yield store


def limited(
    rate: Rate | None = SLOW, quota: Quota | None = None, caller: str = "a"
) -> CallerLimits:
    return CallerLimits(caller, rate, quota)


async def count_allowed(store: LimitStore, limits: CallerLimits, tries: int = 10) -> int:
    states = [await store.take(limits, ONE) for _ in range(tries)]
    return sum(state.refused is None for state in states)


async def test_store_allows_burst_and_refuses_more(store: LimitStore) -> None:
    first = await store.take(limited(), ONE)
    assert first.backlog_s == pytest.approx(86_400, abs=60)
    assert await count_allowed(store, limited()) == 2
    refused = await store.take(limited(), ONE)
    assert refused.refused == "requests"
    assert refused.backlog_s == pytest.approx(3 * 86_400, abs=60)
    assert await count_allowed(store, limited(caller="b")) == 3


async def test_store_gives_back_part_of_a_request(store: LimitStore) -> None:
    assert await count_allowed(store, limited()) == 3
    store.add(limited(), Usage(requests=-0.5))
    assert await count_allowed(store, limited()) == 0
    store.add(limited(), Usage(requests=-0.5))
    assert await count_allowed(store, limited()) == 1


async def test_store_never_holds_more_than_the_burst(store: LimitStore) -> None:
    store.add(limited(), Usage(requests=-100))
    assert await count_allowed(store, limited()) == 3


async def test_store_adds_beyond_the_limit(store: LimitStore) -> None:
    store.add(limited(), Usage(requests=2))
    assert await count_allowed(store, limited()) == 1


async def test_store_adds_to_what_was_used_today(store: LimitStore) -> None:
    limits = limited(quota=Quota(read_units=9))
    for _ in range(2):
        store.add(limits, Usage(read_units=2, records=1))
    state = await store.take(limits, ONE)
    assert (state.refused, state.used) == (None, Usage(0, 4, 2, 0))


async def test_lower_rate_of_a_key_applies_to_what_it_used_before(store: LimitStore) -> None:
    """A backlog of days must not lock out a key whose rate is now one of minutes."""
    assert await count_allowed(store, limited()) == 3
    state = await store.take(limited(Rate(1, 60)), ONE)
    assert state.refused == "requests"
    assert state.backlog_s == pytest.approx(60, abs=1)


async def test_quota_allows_what_fits_and_counts_it(store: LimitStore) -> None:
    limits = limited(None, Quota(records=10, bytes=100))
    for usage, refused in (
        (Usage(records=11), "records"),
        (Usage(records=6, bytes=60), None),
        (Usage(records=4, bytes=41), "bytes"),
        (Usage(records=5), "records"),
        (Usage(records=4, bytes=40), None),
        (ONE, "records"),
    ):
        assert (await store.take(limits, usage)).refused == refused, usage
    state = await store.take(limited(None, Quota(records=11)), Usage(records=1))
    assert (state.refused, state.used) == (None, Usage(0, 0, 11, 100))


async def test_used_up_quota_does_not_count_the_request(store: LimitStore) -> None:
    limits = limited(quota=Quota(read_units=5))
    store.add(limits, Usage(read_units=7))
    await store.take(limited(), ONE)
    state = await store.take(limits, ONE)
    assert (state.refused, state.used.read_units) == ("read_units", 7)
    assert state.backlog_s == pytest.approx(86_400, abs=60)
    assert await count_allowed(store, limited()) == 2


async def test_quota_without_limit_of_a_resource_is_unlimited(store: LimitStore) -> None:
    limits = limited(None, Quota(read_units=0))
    assert (await store.take(limits, ONE)).refused == "read_units"
    unlimited = replace(limits.quota or Quota(), read_units=None)
    assert (await store.take(limited(None, unlimited), Usage(bytes=10**12))).refused is None


def test_memory_store_refills_with_time() -> None:
    clock = ManualClock()
    store = MemoryLimitStore(clock=clock)
    limits = limited(Rate(5, 1, burst=2))
    allowed = []
    for _ in range(6):
        allowed.append(store.take_now(limits, ONE).refused is None)
        clock.now += 0.1
    assert allowed == [True, True, True, False, True, False]
    clock.now += 3600
    assert [store.take_now(limits, ONE).refused for _ in range(3)] == [None, None, "requests"]


@pytest.mark.parametrize("count", [3, 7, 10, 49, 1000])
def test_memory_store_allows_whole_rate_at_once(count: int) -> None:
    store = MemoryLimitStore(clock=ManualClock())
    limits = limited(Rate(count, 1))
    assert [store.take_now(limits, ONE).refused for _ in range(count)] == [None] * count
    assert store.take_now(limits, ONE).refused == "requests"


def test_memory_store_forgets_caller_seen_longest_ago() -> None:
    store = MemoryLimitStore(max_callers=2)
    one = limited(Rate(1, 86_400))
    for caller in ("a", "b", "a", "c"):
        store.take_now(one._replace(caller=caller), ONE)
    refused = [store.take_now(one._replace(caller=caller), ONE).refused for caller in "ab"]
    assert refused == ["requests", None]


def test_memory_store_begins_quota_anew_each_day() -> None:
    day = 1
    store = MemoryLimitStore(today=lambda: day)
    limits = limited(None, Quota(records=1))
    assert store.take_now(limits, Usage(records=1)).refused is None
    assert store.take_now(limits, Usage(records=1)).refused == "records"
    day = 2
    assert store.take_now(limits, Usage(records=1)).refused is None


async def test_redis_store_refills_with_time(shared_redis: RedisServer) -> None:
    limits = limited(Rate(100, 1, burst=1))
    async with redis_store(shared_redis, "refill") as store:

        async def is_allowed() -> bool:
            return (await store.take(limits, ONE)).refused is None

        for _ in range(3):
            await wait_until(is_allowed)


async def test_redis_stores_share_rate_and_quota(shared_redis: RedisServer) -> None:
    limits = limited(Rate(50, 86_400), Quota(records=20))
    async with redis_store(shared_redis, "two") as one, redis_store(shared_redis, "two") as other:
        states = await asyncio.gather(
            *(store.take(limits, Usage(1, records=1)) for store in (one, other) * 30)
        )
        assert sum(state.refused is None for state in states) == 20
        assert (await count_allowed(one, limited(limits.rate), 60)) == 30
        assert (await count_allowed(other, limited(limits.rate), 60)) == 0
    async with redis_store(shared_redis, "another") as elsewhere:
        assert await count_allowed(elsewhere, limited(limits.rate), 60) == 50


async def test_every_limit_in_redis_expires() -> None:
    with redis_server() as redis:
        async with redis_store(redis) as store:
            await store.take(limited(quota=Quota(records=9)), Usage(1, records=1))
            async with Redis.from_url(redis.url, decode_responses=True) as client:
                names = {str(name) for name in await client.keys("*")}
                expiries = [await client.pttl(name) for name in names]
    assert {name.split(":")[2] for name in names} >= {"rate", "used"}
    assert all(expiry > 0 or expiry == -2 for expiry in expiries)  # -2: has expired meanwhile


async def test_take_is_one_round_trip(shared_redis: RedisServer) -> None:
    async with (
        redis_store(shared_redis, "trips") as store,
        Redis.from_url(shared_redis.url, decode_responses=True) as client,
    ):

        async def calls(command: str) -> int:
            statistics = await client.info("commandstats")
            return int(statistics.get(f"cmdstat_{command}", {}).get("calls", 0))

        before = await calls("evalsha")
        await store.take(limited(quota=Quota(records=9)), Usage(1, records=1))
        assert await calls("evalsha") == before + 1


@pytest.mark.parametrize("failure", ["kill", "pause"])
async def test_store_without_redis_goes_on_from_last_state(
    failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    rate = Rate(5, 86_400)
    quota = Quota(records=5)
    with redis_server() as redis, caplog.at_level(logging.INFO, "service"):
        async with redis_store(redis) as store:
            for _ in range(3):
                await store.take(limited(rate, quota), Usage(1, records=1))
            if failure == "kill":
                redis.kill()
            else:
                redis.pause()
            async with asyncio.timeout(60):
                assert await count_allowed(store, limited(rate)) == 2
                assert (await store.take(limited(rate, quota), ONE)).refused == "requests"
                used = await store.take(limited(None, quota), Usage(records=3))
                assert (used.refused, used.used.records) == ("records", 3)
                assert await count_allowed(store, limited(rate, caller="new")) == 5
                store.add(limited(rate, caller="added"), Usage(requests=3))
                assert await count_allowed(store, limited(rate, caller="added")) == 2
            if failure == "kill":
                redis.start()
            else:
                redis.resume()
            probe = limited(Rate(10**6, 1), caller="probe")

            async def is_back() -> bool:
                await store.take(probe, ONE)
                return "available again" in caplog.text

            await wait_until(is_back)
            # A restarted Redis has forgotten everything. One that hung has counted what it was sent
            # before, although the answer was not waited for.
            expected = {5} if failure == "kill" else {1, 2}
            assert await count_allowed(store, limited(rate)) in expected
    assert "each process limits its callers by itself" in caplog.text


async def test_flushed_scripts_are_loaded_again(shared_redis: RedisServer) -> None:
    async with redis_store(shared_redis, "flushed") as store:
        await store.take(limited(), ONE)
        async with Redis.from_url(shared_redis.url) as client:
            await client.script_flush()

            async def is_back() -> bool:
                await store.take(limited(Rate(10**6, 1), caller="probe"), ONE)
                return bool(await client.keys("*:rate:probe"))

            await wait_until(is_back)


async def test_redis_quota_is_of_one_day_in_utc(shared_redis: RedisServer) -> None:
    before = datetime.now(UTC).date()
    async with redis_store(shared_redis, "days") as store:
        await store.take(limited(quota=Quota(records=9), caller="days"), Usage(records=1))
    async with Redis.from_url(shared_redis.url) as redis:
        (key,) = [each.decode() async for each in redis.scan_iter("*used:days:*")]
    assert key.rpartition(":")[2] in {before.isoformat(), datetime.now(UTC).date().isoformat()}
