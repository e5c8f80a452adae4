"""`ImportWatch`: follows one import over broken connections and restarts. It does no I/O.

The service keeps the last events of a job, and replays those after `Last-Event-ID`. The time
without any event is bounded; the time that an import takes is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from service.client.call import Call
from service.client.endpoints import import_events
from service.client.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    GarbledAnswer,
    ImportFailed,
    SearchClientError,
    TimedOut,
    Unavailable,
)
from service.client.models import Job
from service.client.retries import backoff_s
from service.client.sse import ServerSentEvent

PATIENCE_S = 60.0
TRANSIENT = (ConnectionFailed, TimedOut, Unavailable, DeadlineExceeded)


class ImportWatch:
    """The state of one watch: the last event, and the time since then."""

    def __init__(
        self,
        id: str,
        patience_s: float = PATIENCE_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self._id = id
        self._patience_s = patience_s
        self._clock = clock
        self._random_fraction = random_fraction
        self._last_event_id = ""
        self._last_job: Job | None = None
        self._failed = 0
        self._last_event_at = clock()

    @property
    def is_over(self) -> bool:
        return self._last_job is not None and self._last_job.ended

    def connect(self) -> Call[Job]:
        """The request for the events that follow the last one."""
        return import_events(self._id, self._last_event_id)

    def receive(self, event: ServerSentEvent, call: Call[Job]) -> Job | None:
        """The job, if the event changes it."""
        if event.name not in {"progress", "done"}:
            return None
        job = call.parse(event)
        self._last_event_at, self._failed = self._clock(), 0
        self._last_event_id = event.id
        if job == self._last_job:
            return None  # `done` repeats the last `progress`
        self._last_job = job
        return job

    def delay_after(self, error: SearchClientError) -> float:
        """The seconds to wait before reconnecting. Raises `error` if that can't help."""
        delay = backoff_s(self._failed, error, self._random_fraction)
        is_late = self._clock() + delay - self._last_event_at > self._patience_s
        if not isinstance(error, TRANSIENT) or is_late:
            raise error
        self._failed += 1
        return delay


def check_succeeded(job: Job | None) -> Job:
    """The job; `ImportFailed` if it failed or was cancelled."""
    if job is None:  # a watch ends with a job, or with an error
        raise GarbledAnswer("The service sent no state of the import")
    if job.status != "succeeded":
        verb = "was cancelled" if job.status == "cancelled" else job.status
        raise ImportFailed(f"The import {job.id} {verb} ({job.detail or 'no reason given'})", job)
    return job
