# Generated from service/client/_async/streams.py by `make generated`; do not edit.
"""Iterators over responses that arrive in parts: search events, import states, exported records."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Generic, TypeVar

from service.client import sync_io
from service.client._sync.transport import Transport
from service.client.call import Call
from service.client.errors import ConnectionFailed, SearchClientError
from service.client.export_file import LineSplitter, incomplete_on_failure
from service.client.import_watch import ImportWatch
from service.client.models import Job, Record, SearchEvent

T = TypeVar("T")


class Stream(Generic[T]):
    """An iterator over a response. Use it as a context manager, or close it, if you stop early."""

    def __init__(self, source: Generator[T]) -> None:
        self._source = source

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        return next(self._source)

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection."""
        self._source.close()


def search_events(transport: Transport, call: Call[SearchEvent | None]) -> Generator[SearchEvent]:
    """The events of a search, up to `done`."""
    with closing(transport.events(call)) as events:
        for each in events:
            event = call.parse(each)
            if event is not None:
                yield event
                if event.answer is not None:
                    return
    raise ConnectionFailed("The service stopped sending events before the search had ended")


def import_states(transport: Transport, watch: ImportWatch) -> Generator[Job]:
    """The states of an import until it has ended, over as many connections as needed."""
    while not watch.is_over:
        call = watch.connect()
        try:
            with closing(transport.events(call)) as events:
                for event in events:
                    if (job := watch.receive(event, call)) is not None:
                        yield job
                        if job.ended:
                            return
            raise ConnectionFailed("The service stopped sending events before the import had ended")
        except SearchClientError as error:
            delay = watch.delay_after(error)
        sync_io.sleep(delay)


def exported_records(transport: Transport, call: Call[Record]) -> Generator[Record]:
    """The records of an export. Raises `IncompleteExport` if it breaks off."""
    lines = LineSplitter()
    with transport.stream(call) as response:
        with incomplete_on_failure(), transport.errors.map_exceptions():
            for data in response.iter_bytes():
                for line in lines.feed(data):
                    yield call.parse(line)
    lines.end()
