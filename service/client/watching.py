"""Following an import over broken connections and restarts. Knows neither wires nor how to wait.

The service remembers the last events of a job for those who say which one they had. How long
nothing at all may be heard is bounded; how long an import takes is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from service.client.call import Call
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
from service.client.requests import import_events
from service.client.retrying import pause_before
from service.client.sse import ServerEvent

PATIENCE_S = 60.0
PASSING = (ConnectionFailed, TimedOut, Unavailable, DeadlineExceeded)


class Watching:
    """One watch over one import."""

    def __init__(
        self,
        id: str,
        patience_s: float = PATIENCE_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._id = id
        self._patience_s = patience_s
        self._clock = clock
        self._chance = chance
        self._last_event = ""
        self._last: Job | None = None
        self._failed = 0
        self._alive_at = clock()

    @property
    def over(self) -> bool:
        return self._last is not None and self._last.ended

    def call(self) -> Call[Job]:
        """The next connection: from where the last one has come to."""
        return import_events(self._id, self._last_event)

    def heard(self, event: ServerEvent, call: Call[Job]) -> Job | None:
        """What an event tells that was not told before."""
        if event.name not in {"progress", "done"}:
            return None
        job = call.read(event)
        self._alive_at, self._failed = self._clock(), 0
        self._last_event = event.id
        if job == self._last:
            return None  # `done` says it once more
        self._last = job
        return job

    def pause_after(self, error: SearchClientError) -> float:
        """How long to wait before the next connection; `error`, where there is to be none."""
        passing = isinstance(error, PASSING)
        pause = pause_before(self._failed, error, self._chance)
        if not passing or self._clock() + pause - self._alive_at > self._patience_s:
            raise error
        self._failed += 1
        return pause


def ended_well(job: Job | None) -> Job:
    """The job, or what it failed of."""
    if job is None:  # a watch ends with a job, or with an error
        raise GarbledAnswer("The service told nothing of the import")
    if job.status != "succeeded":
        why = job.detail or "no reason given"
        raise ImportFailed(f"The import {job.id} has {_ended(job.status)} ({why})", job)
    return job


def _ended(status: str) -> str:
    return "been cancelled" if status == "cancelled" else status
