"""Work that finishes although its caller is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from service.concurrency import DetachedTasks, finish


class SlowWork:
    """Work that ends when `release` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.release = asyncio.Event()
        self.finished = False
        self._error = error

    async def run(self) -> str:
        await self.release.wait()
        self.finished = True
        if self._error is not None:
            raise self._error
        return "done"


async def test_finish_returns_the_result() -> None:
    work = SlowWork()
    work.release.set()
    assert await finish(work.run()) == "done"


async def test_finish_raises_the_error_of_the_work() -> None:
    work = SlowWork(ValueError("wrong"))
    work.release.set()
    with pytest.raises(ValueError, match="wrong"):
        await finish(work.run())


@pytest.mark.parametrize("cancels", [1, 2, 5])
async def test_finish_waits_for_the_work_however_often_it_is_cancelled(cancels: int) -> None:
    work = SlowWork()
    waiting = asyncio.create_task(finish(work.run()))
    for _ in range(cancels):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.finished


async def test_finish_undoes_a_result_that_a_cancelled_caller_never_receives() -> None:
    work = SlowWork()
    undone: list[str] = []

    async def undo(result: str) -> None:
        undone.append(result)

    waiting = asyncio.create_task(finish(work.run(), undo))
    await asyncio.sleep(0)
    waiting.cancel()
    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert undone == ["done"]


async def test_finish_has_nothing_to_undo_where_the_work_failed() -> None:
    work = SlowWork(ValueError("wrong"))
    undone: list[str] = []

    async def undo(result: str) -> None:
        undone.append(result)

    waiting = asyncio.create_task(finish(work.run(), undo))
    await asyncio.sleep(0)
    waiting.cancel()
    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert undone == []


async def test_detached_task_goes_on_when_its_caller_is_cancelled() -> None:
    work, tasks = SlowWork(), DetachedTasks()
    waiting = asyncio.create_task(tasks.run(work.run()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not work.finished
    work.release.set()
    assert await tasks.join() == set()
    assert work.finished


async def test_join_returns_the_tasks_that_are_still_running() -> None:
    work, tasks = SlowWork(), DetachedTasks()
    waiting = asyncio.create_task(tasks.run(work.run()))
    await asyncio.sleep(0)
    (running,) = await tasks.join(timeout_s=0.01)
    work.release.set()
    assert await waiting == "done"
    assert await running == "done"


async def test_error_of_a_detached_task_is_reported_when_no_caller_is_left() -> None:
    errors: list[BaseException] = []
    work, tasks = SlowWork(ValueError("wrong")), DetachedTasks(errors.append)
    waiting = asyncio.create_task(tasks.run(work.run()))
    await asyncio.sleep(0)
    waiting.cancel()
    work.release.set()
    await tasks.join()
    await asyncio.sleep(0)
    assert [str(error) for error in errors] == ["wrong"]
