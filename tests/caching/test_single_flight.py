"""Concurrent calls with one key share an execution, which a cancelled caller does not end."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from service.caching.single_flight import Publish, SingleFlight
from service.errors import Unavailable


class Work:
    """Work that ends when `end` is set, and counts how often it was started and cancelled."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, publish: Publish[str]) -> int:
        self.started += 1
        number = self.started
        publish(f"started {number}")
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
    """Start callers that share one execution, and wait until it has started."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(calls.run("key", work)) for _ in range(count)
    ]
    while not work.started:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_concurrent_calls_with_same_key_share_execution() -> None:
    calls, work = SingleFlight[str, int](), Work()
    tasks = await start_callers(calls, work, 3)
    work.end.set()
    assert await asyncio.gather(*tasks) == [(1, False), (1, True), (1, True)]
    assert await calls.run("key", work) == (2, False)
    assert await calls.run("another key", work) == (3, False)


async def test_cancelled_caller_does_not_cancel_shared_work() -> None:
    calls, work = SingleFlight[str, int](), Work()
    first, second, third = await start_callers(calls, work, 3)
    first.cancel()
    third.cancel()
    await asyncio.wait({first, third})
    work.end.set()
    assert await second == (1, True)
    assert work.cancelled == 0


async def test_last_cancelled_caller_cancels_work_and_later_call_starts_anew() -> None:
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


async def test_error_is_raised_to_every_caller_with_equal_traceback() -> None:
    calls, work = SingleFlight[str, int](), Work()
    work.error = Unavailable("not now")
    tasks = await start_callers(calls, work, 3)
    work.end.set()
    lengths = []
    for task in tasks:
        with pytest.raises(Unavailable, match="not now") as raised:
            await task
        lengths.append(len(traceback.extract_tb(raised.tb)))
        assert raised.traceback[-1].name == "__call__"  # where it was raised
    assert len(set(lengths)) == 1


async def test_close_cancels_work_and_callers_get_unavailable() -> None:
    calls, work = SingleFlight[str, int](), Work()
    tasks = await start_callers(calls, work, 2)
    await calls.close()
    assert work.cancelled == 1
    for task in tasks:
        with pytest.raises(Unavailable, match="stopping"):
            await task


async def subscribe(calls: SingleFlight[str, int], work: Work) -> tuple[list[str], int]:
    """Return all published events, and the result."""
    events: list[str] = []
    with calls.join("key", work) as (call, _):
        while await call.log.wait_for_more(len(events)):
            events.append(call.log.events[len(events)])
    return events, call.result()


async def test_late_subscriber_receives_every_event() -> None:
    calls, work = SingleFlight[str, int](), Work()
    early = asyncio.create_task(subscribe(calls, work))
    (joined,) = await start_callers(calls, work, 1)
    late = asyncio.create_task(subscribe(calls, work))
    await asyncio.sleep(0)
    work.end.set()
    assert await early == await late == (["started 1"], 1)
    assert await joined == (1, True)


async def test_subscriber_gets_error_after_events() -> None:
    calls, work = SingleFlight[str, int](), Work()
    work.error = Unavailable("not now")
    work.end.set()
    with pytest.raises(Unavailable, match="not now"):
        await subscribe(calls, work)
