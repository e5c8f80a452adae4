"""What comes piece by piece, and is handed out as it comes. `async_streams.py` is its twin."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from types import TracebackType
from typing import Generic, TypeVar

from service.client import requests
from service.client.call import Call
from service.client.errors import SearchClientError
from service.client.exporting import Lines, Whole
from service.client.models import Job, Record, SearchEvent
from service.client.sync_wire import Wire
from service.client.watching import Watching

T = TypeVar("T")


class Stream(Generic[T]):
    """What comes, as it comes. Whoever stops before its end closes it: `with` does."""

    def __init__(self, source: Generator[T]) -> None:
        self._source = source

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        return next(self._source)

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._source.close()


def searched(wire: Wire, call: Call[SearchEvent | None]) -> Generator[SearchEvent]:
    """The events of a search, up to the last."""
    with closing(wire.events(call)) as events:
        for each in events:
            event = call.read(each)
            if event is not None:
                yield event
                if event.answer is not None:
                    return
    raise requests.broke_off("search")


def watched(wire: Wire, watching: Watching) -> Generator[Job]:
    """The moments of an import, over as many connections as it takes."""
    while not watching.over:
        call = watching.call()
        try:
            with closing(wire.events(call)) as events:
                for event in events:
                    if (job := watching.heard(event, call)) is not None:
                        yield job
                        if job.ended:
                            return
            raise requests.broke_off("import")
        except SearchClientError as error:
            pause = watching.pause_after(error)
        time.sleep(pause)


def exported(wire: Wire, call: Call[Record]) -> Generator[Record]:
    """The records of an export, or the error that they are not all."""
    lines = Lines()
    with Whole() as whole, wire.opened(call) as response:
        whole.begun = True
        for data in response.iter_bytes():
            for line in lines.feed(data):
                yield call.read(line)
        lines.end()
