"""How many WebSockets may wait for a key, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.access.pending_hellos import PendingHellos
from service.errors import Overloaded


async def wait_forever(hellos: PendingHellos, address: str, entered: asyncio.Event) -> None:
    async with hellos.waiting(address):
        entered.set()
        await asyncio.Event().wait()


async def test_pending_hellos_of_one_client_are_limited() -> None:
    hellos = PendingHellos(max_per_caller=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(hellos.waiting("192.0.2.1"))
        with pytest.raises(Overloaded, match=r"2 WebSocket connections .* again in 5 s") as raised:
            await stack.enter_async_context(hellos.waiting("192.0.2.1:4711"))
        assert raised.value.retry_after == 5
        await stack.enter_async_context(hellos.waiting("192.0.2.2"))
    for _ in range(3):  # each end makes room for the next one
        async with hellos.waiting("192.0.2.1"), hellos.waiting("192.0.2.1"):
            pass


async def test_pending_hello_ends_after_its_time() -> None:
    hellos = PendingHellos(timeout_s=0.01, max_per_caller=1)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await wait_forever(hellos, "192.0.2.1", asyncio.Event())


async def test_longest_pending_hello_ends_over_the_total_limit() -> None:
    hellos = PendingHellos(timeout_s=3_600, max_total=2)
    waiting = []
    for number in range(4):
        entered = asyncio.Event()
        waiting.append(asyncio.create_task(wait_forever(hellos, f"192.0.2.{number}", entered)))
        await entered.wait()
        if number < 2:
            assert not any(task.done() for task in waiting)
    for task in waiting[:2]:
        with pytest.raises(TimeoutError):
            await task
    assert not any(task.done() for task in waiting[2:])
    for task in waiting[2:]:
        task.cancel()
    await asyncio.wait(waiting)


async def test_ended_hellos_do_not_count_for_the_total() -> None:
    hellos = PendingHellos(timeout_s=3_600, max_total=2)
    for _ in range(3):
        async with hellos.waiting("192.0.2.1"):
            pass
    async with hellos.waiting("192.0.2.1"), hellos.waiting("192.0.2.2"):
        await asyncio.sleep(0)  # one that was ended would be cancelled here


async def test_end_of_a_pending_hello_makes_room_for_one() -> None:
    hellos = PendingHellos(max_per_caller=2)
    async with AsyncExitStack() as stack:
        async with hellos.waiting("192.0.2.1"):
            await stack.enter_async_context(hellos.waiting("192.0.2.1"))
        await stack.enter_async_context(hellos.waiting("192.0.2.1"))
        with pytest.raises(Overloaded):
            await stack.enter_async_context(hellos.waiting("192.0.2.1"))
