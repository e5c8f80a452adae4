"""The answer to whoever is sent away: the same wherever it is given.

Refusals are not logged one by one: a crowd that comes back would fill the log, and what is logged
is paid for by those who are let in. `Places` says once in a while how many there were.
"""

from __future__ import annotations

import orjson

from service.errors import Unavailable
from service.lifecycle import Lifecycle
from service.web import request_context as envelope
from service.web.search.rendering import error_body

Headers = dict[str, str]


def rejection(
    error: Unavailable, given_id: str, seconds: float, lifecycle: Lifecycle
) -> tuple[Headers, bytes]:
    """Headers and body, for a request that was given `given_id` by its client, or nothing."""
    id = envelope.request_id(given_id)
    body = orjson.dumps(error_body(error, id))
    headers = envelope.headers(id, seconds, "", lifecycle)
    headers["Content-Type"] = "application/json"
    headers["Cache-Control"] = "no-store"
    headers["Content-Length"] = str(len(body))
    if error.retry_after is not None:
        headers["Retry-After"] = f"{error.retry_after:.0f}"
    return headers, body
