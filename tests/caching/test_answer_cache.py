"""Answers are shared while they are computed, and stored for a while afterwards."""

from __future__ import annotations

import asyncio

import pytest

from service.caching.answer_cache import Answer, AnswerCache, ComputedAnswer, payload_tag
from service.caching.memory_store import MemoryStore
from service.caching.single_flight import Publish
from service.errors import Unavailable
from tests.clock import Clock


class Search:
    """A search with a numbered answer, which waits until `go_on` is set."""

    def __init__(self) -> None:
        self.count = 0
        self.keep = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, publish: Publish[str]) -> ComputedAnswer[str]:
        self.count += 1
        payload = b"answer %d" % self.count
        publish(f"started {self.count}")
        await self.go_on.wait()
        return ComputedAnswer(payload, self.keep, f"receipt {self.count}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def search() -> Search:
    return Search()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(100_000, settle_s=10, clock=clock)


def make_cache(store: MemoryStore) -> AnswerCache[str, str]:
    return AnswerCache(store, 5)


def outcome(answer: Answer[str]) -> tuple[bytes, str]:
    return answer.payload, answer.source


async def test_repeated_get_is_hit_with_same_tag_and_age(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    cache = make_cache(store)
    first = await cache.get("n", "key", search)
    assert first == Answer(b"answer 1", payload_tag(b"answer 1"), "miss", 0.0, "receipt 1")
    clock.now += 2
    again = await cache.get("n", "key", search)
    assert again == Answer(b"answer 1", first.tag, "hit", 2.0, None)
    clock.now += 3
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "miss")


async def test_answer_depends_on_key_and_namespace(store: MemoryStore, search: Search) -> None:
    cache = make_cache(store)
    for number, (namespace, key) in enumerate([("n", "key"), ("n", "k"), ("m", "key")], 1):
        payload = b"answer %d" % number
        assert outcome(await cache.get(namespace, key, search)) == (payload, "miss")


async def test_fresh_get_bypasses_cache_and_is_stored(store: MemoryStore, search: Search) -> None:
    cache = make_cache(store)
    await cache.get("n", "key", search)
    assert outcome(await cache.get("n", "key", search, fresh=True)) == (b"answer 2", "bypass")
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "hit")
    await store.invalidate("n")
    search.go_on.clear()
    waiting = asyncio.create_task(cache.get("n", "key", search))
    while search.count < 3:
        await asyncio.sleep(0)
    search.go_on.set()
    assert outcome(await cache.get("n", "key", search, fresh=True)) == (b"answer 4", "bypass")
    assert outcome(await waiting) == (b"answer 3", "miss")


async def test_answer_with_keep_false_is_not_stored(store: MemoryStore, search: Search) -> None:
    cache = make_cache(store)
    search.keep = False
    assert outcome(await cache.get("n", "key", search)) == (b"answer 1", "miss")
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "miss")


async def test_ttl_of_0_stores_nothing_and_shares_concurrent_gets(
    store: MemoryStore, search: Search
) -> None:
    disabled: AnswerCache[str, str] = AnswerCache(store, 0)
    assert outcome(await disabled.get("n", "key", search)) == (b"answer 1", "off")
    both = await asyncio.gather(*(disabled.get("n", "key", search) for _ in range(2)))
    assert [outcome(each) for each in both] == [(b"answer 2", "off"), (b"answer 2", "shared")]
    assert both[1].receipt == "receipt 2"


async def test_get_misses_after_write_until_namespace_is_settled(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    cache = make_cache(store)
    await cache.get("n", "key", search)
    await store.invalidate("n")
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "miss")
    clock.now += 9.9
    assert outcome(await cache.get("n", "key", search)) == (b"answer 3", "miss")
    clock.now += 0.1
    assert outcome(await cache.get("n", "key", search)) == (b"answer 4", "miss")
    assert outcome(await cache.get("n", "key", search)) == (b"answer 4", "hit")


async def test_search_started_before_write_is_neither_stored_nor_shared(
    clock: Clock, search: Search
) -> None:
    store = MemoryStore(100_000, settle_s=0, clock=clock)
    cache = make_cache(store)
    search.go_on.clear()
    before = asyncio.create_task(cache.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    await store.invalidate("n")
    after = asyncio.create_task(cache.get("n", "key", search))
    while search.count < 2:
        await asyncio.sleep(0)
    search.go_on.set()
    assert outcome(await before) == (b"answer 1", "miss")
    assert outcome(await after) == (b"answer 2", "miss")
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "hit")


async def test_search_started_before_namespace_is_settled_is_not_stored(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    cache = make_cache(store)
    await store.invalidate("n")
    search.go_on.clear()
    searching = asyncio.create_task(cache.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    clock.now += 60
    search.go_on.set()
    await searching
    assert outcome(await cache.get("n", "key", search)) == (b"answer 2", "miss")


async def test_close_cancels_running_search(store: MemoryStore, search: Search) -> None:
    cache = make_cache(store)
    search.go_on.clear()
    searching = asyncio.create_task(cache.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(Unavailable, match="stopping"):
        await searching
