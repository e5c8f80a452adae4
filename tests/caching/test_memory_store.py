"""The cache store in memory: expiry, size limit and generations."""

from __future__ import annotations

import pytest

from service.caching.memory_store import ENTRY_OVERHEAD, MAX_NAMESPACES, MemoryStore
from tests.clock import Clock

TTL = 5.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(100_000, settle_s=10, clock=clock)


async def fill_cache(store: MemoryStore, namespace: str, key: str, value: bytes = b"value") -> None:
    generation = (await store.look_up(namespace, key)).generation
    store.keep(namespace, key, generation, value, TTL)


async def value_of(store: MemoryStore, namespace: str, key: str) -> bytes | None:
    return (await store.look_up(namespace, key)).value


async def test_answer_is_found_until_its_ttl_ends(store: MemoryStore, clock: Clock) -> None:
    await fill_cache(store, "n", "key")
    clock.now += 4.5
    found = await store.look_up("n", "key")
    assert (found.value, found.age_s, found.is_settled) == (b"value", 4.5, True)
    assert await value_of(store, "n", "another key") is None
    assert await value_of(store, "another namespace", "key") is None
    clock.now += 0.5
    assert await value_of(store, "n", "key") is None


async def test_invalidate_affects_only_its_namespace(store: MemoryStore) -> None:
    await fill_cache(store, "written", "key")
    await fill_cache(store, "other", "key")
    await store.invalidate("written")
    assert await value_of(store, "written", "key") is None
    assert await value_of(store, "other", "key") == b"value"


async def test_answer_from_before_invalidate_is_not_stored(store: MemoryStore) -> None:
    before = await store.look_up("n", "key")
    await store.invalidate("n")
    store.keep("n", "key", before.generation, b"old", TTL)
    assert await value_of(store, "n", "key") is None
    await fill_cache(store, "n", "key", b"new")
    store.keep("n", "key", before.generation, b"old", TTL)
    assert await value_of(store, "n", "key") == b"new"


async def test_namespace_is_settled_some_time_after_invalidate(
    store: MemoryStore, clock: Clock
) -> None:
    await store.invalidate("n")
    clock.now += 9.5
    assert not (await store.look_up("n", "key")).is_settled
    assert (await store.look_up("other", "key")).is_settled
    clock.now += 0.5
    assert (await store.look_up("n", "key")).is_settled


async def test_full_store_evicts_least_recently_used_entry(clock: Clock) -> None:
    store = MemoryStore(3 * (1000 + ENTRY_OVERHEAD + 10), settle_s=0, clock=clock)
    for key in ("a", "b", "c"):
        await fill_cache(store, "n", key, b"x" * 1000)
    assert await value_of(store, "n", "a")
    await fill_cache(store, "n", "d", b"x" * 1000)
    found = [key for key in "abcd" if await value_of(store, "n", key)]
    assert found == ["a", "c", "d"]
    assert not store.put("too large", b"x" * 10_000, TTL)
    await fill_cache(store, "n", "a", b"x" * 10)  # a smaller value frees space
    await fill_cache(store, "n", "e", b"x" * 500)
    assert [key for key in "acde" if await value_of(store, "n", key)] == ["a", "c", "d", "e"]


async def test_plain_values_survive_invalidate_until_their_ttl_ends(
    store: MemoryStore, clock: Clock
) -> None:
    assert store.put("key", b"value", TTL)
    await store.invalidate("key")
    await store.invalidate("")
    assert await store.get("key") == b"value"
    assert await store.get("another") is None
    clock.now += TTL
    assert await store.get("key") is None


async def test_namespaces_beyond_maximum_stay_invalidated(store: MemoryStore, clock: Clock) -> None:
    """A namespace whose state was evicted has the newest of the evicted states."""
    await fill_cache(store, "first", "key")
    await store.invalidate("first")
    for number in range(MAX_NAMESPACES):
        await store.invalidate(f"other {number}")
    found = await store.look_up("first", "key")
    assert (found.value, found.is_settled) == (None, False)
    clock.now += 10
    await fill_cache(store, "first", "key", b"new")
    assert await value_of(store, "first", "key") == b"new"
