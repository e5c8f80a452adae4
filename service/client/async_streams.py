"""What comes piece by piece, handed out as it comes, awaited. `sync_streams.py` is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Generic, TypeVar

from service.client import requests
from service.client.async_wire import AsyncWire
from service.client.call import Call
from service.client.errors import SearchClientError
from service.client.exporting import Lines, Whole
from service.client.models import Job, Record, SearchEvent
from service.client.watching import Watching

T = TypeVar("T")


class AsyncStream(Generic[T]):
    """What comes, as it comes. Whoever stops before its end closes it: `async with` does."""

    def __init__(self, source: AsyncGenerator[T]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._source)

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._source.aclose()


async def searched(wire: AsyncWire, call: Call[SearchEvent | None]) -> AsyncGenerator[SearchEvent]:
    """The events of a search, up to the last."""
    async with aclosing(wire.events(call)) as events:
        async for each in events:
            event = call.read(each)
            if event is not None:
                yield event
                if event.answer is not None:
                    return
    raise requests.broke_off("search")


async def watched(wire: AsyncWire, watching: Watching) -> AsyncGenerator[Job]:
    """The moments of an import, over as many connections as it takes."""
    while not watching.over:
        call = watching.call()
        try:
            async with aclosing(wire.events(call)) as events:
                async for event in events:
                    if (job := watching.heard(event, call)) is not None:
                        yield job
                        if job.ended:
                            return
            raise requests.broke_off("import")
        except SearchClientError as error:
            pause = watching.pause_after(error)
        await asyncio.sleep(pause)


async def exported(wire: AsyncWire, call: Call[Record]) -> AsyncGenerator[Record]:
    """The records of an export, or the error that they are not all."""
    lines = Lines()
    with Whole() as whole:
        async with wire.opened(call) as response:
            whole.begun = True
            async for data in response.aiter_bytes():
                for line in lines.feed(data):
                    yield call.read(line)
        lines.end()
