"""Iterators over responses that arrive in parts: search events, import states, exported records."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar

from service.client import async_io
from service.client._async.transport import AsyncTransport
from service.client.call import Call
from service.client.errors import ConnectionFailed, SearchClientError
from service.client.export_file import LineSplitter, incomplete_on_failure
from service.client.import_watch import ImportWatch
from service.client.models import Job, Record, SearchEvent

T = TypeVar("T")


class AsyncStream(Generic[T]):
    """An iterator over a response. Use it as a context manager, or close it, if you stop early."""

    def __init__(self, source: AsyncGenerator[T]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._source)

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release the connection."""
        await self._source.aclose()


async def search_events(
    transport: AsyncTransport, call: Call[SearchEvent | None]
) -> AsyncGenerator[SearchEvent]:
    """The events of a search, up to `done`."""
    async with aclosing(transport.events(call)) as events:
        async for each in events:
            event = call.parse(each)
            if event is not None:
                yield event
                if event.answer is not None:
                    return
    raise ConnectionFailed("The service stopped sending events before the search had ended")


async def import_states(transport: AsyncTransport, watch: ImportWatch) -> AsyncGenerator[Job]:
    """The states of an import until it has ended, over as many connections as needed."""
    while not watch.is_over:
        call = watch.connect()
        try:
            async with aclosing(transport.events(call)) as events:
                async for event in events:
                    if (job := watch.receive(event, call)) is not None:
                        yield job
                        if job.ended:
                            return
            raise ConnectionFailed("The service stopped sending events before the import had ended")
        except SearchClientError as error:
            delay = watch.delay_after(error)
        await async_io.sleep(delay)


async def exported_records(transport: AsyncTransport, call: Call[Record]) -> AsyncGenerator[Record]:
    """The records of an export. Raises `IncompleteExport` if it breaks off."""
    lines = LineSplitter()
    async with transport.stream(call) as response:
        with incomplete_on_failure(), transport.errors.map_exceptions():
            async for data in response.aiter_bytes():
                for line in lines.feed(data):
                    yield call.parse(line)
    lines.end()
