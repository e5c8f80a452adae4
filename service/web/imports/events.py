"""The progress of an import as server-sent events, to however many listen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import orjson
from quart import Response, g

from service.errors import RequestError, TooSlow
from service.jobs.job import Job
from service.web.imports.schemas import job_body
from service.web.responses import HEARTBEAT, HEARTBEAT_S, event, event_response
from service.web.search.rendering import error_body

# Said when the service is stopping: come back, and somebody else will answer, or we again.
COME_BACK = b"retry: 1000\n\n"


class Watched(Protocol):
    async def get(self, id: str) -> Job: ...

    def watch(
        self, id: str, after: int | None, *, beat_s: float | None
    ) -> AbstractAsyncContextManager[AsyncIterator[Job]]: ...


async def events_response(jobs: Watched, id: str, last_event_id: str) -> Response:
    """The stream from after the last event that is known to the one who asks."""
    after = int(last_event_id) if re.fullmatch(r"[0-9]{1,18}", last_event_id) else None
    job = await jobs.get(id)
    if job.ended and after is not None and after >= job.revision:
        return Response(status=204)  # which keeps an EventSource from asking again
    return event_response(_events(jobs, id, after, g.request_id))


async def _events(
    jobs: Watched, id: str, after: int | None, request_id: str
) -> AsyncIterator[bytes]:
    seen, last = -1 if after is None else after, None
    try:
        async with jobs.watch(id, after, beat_s=HEARTBEAT_S) as moments:
            async for job in moments:
                last = job
                if job.revision <= seen and not job.ended:
                    yield HEARTBEAT
                else:
                    seen = job.revision
                    # Who has the id of the end has heard `done`, and need not come back for it.
                    yield event("progress", _data(job), None if job.ended else seen)
    except TooSlow:
        return  # it reads nothing, so there is nothing to be told
    except RequestError as exc:
        yield event("error", orjson.dumps(error_body(exc, request_id)))
        return
    if last is None or not last.ended:
        yield COME_BACK
    else:
        yield event("done", _data(last), last.revision)


def _data(job: Job) -> bytes:
    return orjson.dumps(job_body(job))
