"""Ends requests and WebSockets whose key is revoked, or expires, while they run.

A stream, an export, an upload or a WebSocket may go on for hours. One task checks the grants of all
of them several times a second. Two checks in a row have to fail, so that a request that revokes its
own key is still answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from quart import Quart, g, request, websocket

from service.access import tokens
from service.access.grant import Grant
from service.access.policy import AccessPolicy
from service.errors import KeysUnavailable, RequestError
from service.web.authentication import POLICY_VIOLATION, TRY_AGAIN_LATER
from service.web.http_connection import end_request
from service.web.request_context import unwrap

logger = logging.getLogger(__name__)

CHECK_S = 0.25

End = Callable[[RequestError], None]


@dataclass(slots=True)
class LiveGrant:
    grant: Grant
    end: End
    has_failed: bool = False


class LiveGrants:
    """The grants of the requests and WebSockets that run now."""

    def __init__(self, policy: AccessPolicy) -> None:
        self._policy = policy
        self._live: dict[asyncio.Task[Any], LiveGrant] = {}

    def add(self, grant: Grant, task: asyncio.Task[Any], end: End) -> None:
        """Watch a grant until the task ends; `end` is called if it is lost before."""
        if task not in self._live:
            task.add_done_callback(lambda done: self._live.pop(done, None))
        self._live[task] = LiveGrant(grant, end)

    @contextlib.asynccontextmanager
    async def checked(self) -> AsyncIterator[None]:
        """Check all of them until the block ends."""
        if self._policy.requires_key:
            await tokens.prepare()
        checking = asyncio.create_task(self._check_periodically())
        try:
            yield
        finally:
            checking.cancel()
            await asyncio.wait({checking})

    def check(self) -> None:
        for live in list(self._live.values()):
            try:
                self._policy.check_still_valid(live.grant)
            except RequestError as error:
                if live.has_failed:
                    live.end(error)
                live.has_failed = True
            else:
                live.has_failed = False

    async def _check_periodically(self) -> None:
        while True:
            try:
                self.check()
            except Exception:  # the next check has to come
                logger.exception("a check of the grants of running requests failed")
            await asyncio.sleep(CHECK_S)


def install(app: Quart, policy: AccessPolicy) -> LiveGrants:
    """Watch each request and each WebSocket that has a grant, after its authentication."""
    live = LiveGrants(policy)

    @app.before_request
    async def watch_request() -> None:
        if "grant" in g:
            task = _current_task()
            live.add(g.grant, task, partial(end_request, unwrap(request), task))

    @app.before_websocket
    async def watch_websocket() -> None:
        end = unwrap(websocket).end
        if "grant" in g and end is not None:
            live.add(g.grant, _current_task(), partial(_close, end))

    return live


def _close(end: Callable[[int, str], None], error: RequestError) -> None:
    is_final = not isinstance(error, KeysUnavailable)
    end(POLICY_VIOLATION if is_final else TRY_AGAIN_LATER, error.detail)


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "a request runs in a task"  # noqa: S101
    return task
