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
    """A search whose answer says which one it is, and that can be held."""

    def __init__(self) -> None:
        self.count = 0
        self.keep = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, publish: Publish[str]) -> ComputedAnswer[str]:
        self.count += 1
        payload = b"answer %d" % self.count
        publish(f"begun {self.count}")
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


def answers(store: MemoryStore) -> AnswerCache[str, str]:
    return AnswerCache(store, 5)


def told(answered: Answer[str]) -> tuple[bytes, str]:
    return answered.payload, answered.source


async def test_a_second_one_is_a_hit_with_the_same_tag_and_an_age(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    kept = answers(store)
    first = await kept.get("n", "key", search)
    assert first == Answer(b"answer 1", payload_tag(b"answer 1"), "miss", 0.0, "receipt 1")
    clock.now += 2
    again = await kept.get("n", "key", search)
    assert again == Answer(b"answer 1", first.tag, "hit", 2.0, None)
    clock.now += 3
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "miss")


async def test_other_keys_and_namespaces_are_other_answers(
    store: MemoryStore, search: Search
) -> None:
    kept = answers(store)
    for number, (namespace, key) in enumerate([("n", "key"), ("n", "k"), ("m", "key")], 1):
        payload = b"answer %d" % number
        assert told(await kept.get(namespace, key, search)) == (payload, "miss")


async def test_a_fresh_one_neither_reads_nor_joins_but_is_kept(
    store: MemoryStore, search: Search
) -> None:
    kept = answers(store)
    await kept.get("n", "key", search)
    assert told(await kept.get("n", "key", search, fresh=True)) == (b"answer 2", "bypass")
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "hit")
    await store.invalidate("n")
    search.go_on.clear()
    held = asyncio.create_task(kept.get("n", "key", search))
    while search.count < 3:
        await asyncio.sleep(0)
    search.go_on.set()
    assert told(await kept.get("n", "key", search, fresh=True)) == (b"answer 4", "bypass")
    assert told(await held) == (b"answer 3", "miss")


async def test_what_is_not_worth_it_is_not_kept(store: MemoryStore, search: Search) -> None:
    kept = answers(store)
    search.keep = False
    assert told(await kept.get("n", "key", search)) == (b"answer 1", "miss")
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "miss")


async def test_without_time_to_live_nothing_is_kept_and_everything_shared(
    store: MemoryStore, search: Search
) -> None:
    off: AnswerCache[str, str] = AnswerCache(store, 0)
    assert told(await off.get("n", "key", search)) == (b"answer 1", "off")
    both = await asyncio.gather(*(off.get("n", "key", search) for _ in range(2)))
    assert [told(each) for each in both] == [(b"answer 2", "off"), (b"answer 2", "shared")]
    assert both[1].receipt == "receipt 2"


async def test_a_write_makes_it_miss_and_nothing_is_kept_until_it_has_settled(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    kept = answers(store)
    await kept.get("n", "key", search)
    await store.invalidate("n")
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "miss")
    clock.now += 9.9
    assert told(await kept.get("n", "key", search)) == (b"answer 3", "miss")
    clock.now += 0.1
    assert told(await kept.get("n", "key", search)) == (b"answer 4", "miss")
    assert told(await kept.get("n", "key", search)) == (b"answer 4", "hit")


async def test_a_search_from_before_a_write_is_neither_kept_nor_joined(
    clock: Clock, search: Search
) -> None:
    store = MemoryStore(100_000, settle_s=0, clock=clock)
    kept = answers(store)
    search.go_on.clear()
    before = asyncio.create_task(kept.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    await store.invalidate("n")
    after = asyncio.create_task(kept.get("n", "key", search))
    while search.count < 2:
        await asyncio.sleep(0)
    search.go_on.set()
    assert told(await before) == (b"answer 1", "miss")
    assert told(await after) == (b"answer 2", "miss")
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "hit")


async def test_a_search_that_had_not_settled_when_it_began_is_not_kept(
    store: MemoryStore, clock: Clock, search: Search
) -> None:
    kept = answers(store)
    await store.invalidate("n")
    search.go_on.clear()
    searching = asyncio.create_task(kept.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    clock.now += 60
    search.go_on.set()
    await searching
    assert told(await kept.get("n", "key", search)) == (b"answer 2", "miss")


async def test_at_the_end_what_is_under_way_is_given_up(store: MemoryStore, search: Search) -> None:
    kept = answers(store)
    search.go_on.clear()
    searching = asyncio.create_task(kept.get("n", "key", search))
    while not search.count:
        await asyncio.sleep(0)
    await kept.close()
    with pytest.raises(Unavailable, match="stopping"):
        await searching
