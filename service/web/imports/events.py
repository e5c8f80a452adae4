"""The progress of an import as server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import orjson
from quart import Response, g

from service.errors import RequestError, TooSlow
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.web.errors import error_body
from service.web.imports.schemas import job_body
from service.web.responses import HEARTBEAT, HEARTBEAT_S, encode_event, event_response

# Sent when the service is stopping: the client reconnects, to this service or to another process.
RECONNECT = b"retry: 1000\n\n"


async def events_response(jobs: Jobs, id: str, owner: str | None, last_event_id: str) -> Response:
    """The events after `last_event_id`; `NotFound` for an import of another owner."""
    after = int(last_event_id) if re.fullmatch(r"[0-9]{1,18}", last_event_id) else None
    job = await jobs.get(id, owner)
    if job.ended and after is not None and after >= job.revision:
        return Response(status=204)  # tells an EventSource not to reconnect
    return event_response(_events(jobs, id, after, g.request_id))


async def _events(jobs: Jobs, id: str, after: int | None, request_id: str) -> AsyncIterator[bytes]:
    seen, last = -1 if after is None else after, None
    try:
        async with jobs.watch(id, after, beat_s=HEARTBEAT_S) as states:
            async for job in states:
                last = job
                if job.revision <= seen and not job.ended:
                    yield HEARTBEAT
                else:
                    seen = job.revision
                    # The last `progress` has no id. A client that is disconnected before `done`
                    # then reconnects with an older id, and gets `done`.
                    yield encode_event("progress", _data(job), None if job.ended else seen)
    except TooSlow:
        return  # the client does not read, so it would not read an error
    except RequestError as exc:
        yield encode_event("error", orjson.dumps(error_body(exc, request_id)))
        return
    if last is None or not last.ended:
        yield RECONNECT
    else:
        yield encode_event("done", _data(last), last.revision)


def _data(job: Job) -> bytes:
    return orjson.dumps(job_body(job))
