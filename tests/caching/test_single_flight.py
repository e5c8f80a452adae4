"""Equal work is done once, and nobody takes it from the others by leaving."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from service.caching.single_flight import Publish, SingleFlight
from service.errors import Unavailable


class Work:
    """Work that ends when it is told to, and knows how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, publish: Publish[str]) -> int:
        self.begun += 1
        number = self.begun
        publish(f"begun {number}")
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def start_callers(
    calls: SingleFlight[str, int], work: Work, count: int
) -> list[asyncio.Task[object]]:
    """Start callers that share one execution, and wait until it has begun."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(calls.run("key", work)) for _ in range(count)
    ]
    while not work.begun:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_those_who_want_the_same_at_the_same_time_share_it() -> None:
    calls, work = SingleFlight[str, int](), Work()
    tasks = await start_callers(calls, work, 3)
    work.end.set()
    assert await asyncio.gather(*tasks) == [(1, False), (1, True), (1, True)]
    assert await calls.run("key", work) == (2, False)
    assert await calls.run("another key", work) == (3, False)


async def test_who_leaves_does_not_take_it_from_the_others() -> None:
    calls, work = SingleFlight[str, int](), Work()
    first, second, third = await start_callers(calls, work, 3)
    first.cancel()
    third.cancel()
    await asyncio.wait({first, third})
    work.end.set()
    assert await second == (1, True)
    assert work.cancelled == 0


async def test_when_the_last_one_leaves_the_work_is_cancelled_and_nobody_joins_it() -> None:
    calls, work = SingleFlight[str, int](), Work()
    leaving = await start_callers(calls, work, 2)
    for task in leaving:
        task.cancel()
    joining = asyncio.create_task(calls.run("key", work))
    await asyncio.wait(leaving)
    assert all(task.cancelled() for task in leaving)
    work.end.set()
    assert await joining == (2, False)
    assert work.cancelled == 1


async def test_an_error_is_everybodys_and_its_traceback_does_not_grow() -> None:
    calls, work = SingleFlight[str, int](), Work()
    work.error = Unavailable("not now")
    tasks = await start_callers(calls, work, 3)
    work.end.set()
    lengths = []
    for task in tasks:
        with pytest.raises(Unavailable, match="not now") as raised:
            await task
        lengths.append(len(traceback.extract_tb(raised.tb)))
        assert raised.traceback[-1].name == "__call__"  # where it arose
    assert len(set(lengths)) == 1


async def test_what_is_under_way_at_the_end_is_given_up_with_an_answer() -> None:
    calls, work = SingleFlight[str, int](), Work()
    tasks = await start_callers(calls, work, 2)
    await calls.close()
    assert work.cancelled == 1
    for task in tasks:
        with pytest.raises(Unavailable, match="stopping"):
            await task


async def subscribe(calls: SingleFlight[str, int], work: Work) -> tuple[list[str], int]:
    """All that is told, and the result."""
    events: list[str] = []
    with calls.join("key", work) as (call, _):
        while await call.log.wait_for_more(len(events)):
            events.append(call.log.events[len(events)])
    return events, call.result()


async def test_what_it_tells_is_for_everybody_whenever_they_come() -> None:
    calls, work = SingleFlight[str, int](), Work()
    early = asyncio.create_task(subscribe(calls, work))
    (joined,) = await start_callers(calls, work, 1)
    late = asyncio.create_task(subscribe(calls, work))
    await asyncio.sleep(0)
    work.end.set()
    assert await early == await late == (["begun 1"], 1)
    assert await joined == (1, True)


async def test_an_error_comes_behind_what_was_told() -> None:
    calls, work = SingleFlight[str, int](), Work()
    work.error = Unavailable("not now")
    work.end.set()
    with pytest.raises(Unavailable, match="not now"):
        await subscribe(calls, work)
