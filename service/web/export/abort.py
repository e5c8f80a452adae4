"""A response that breaks off in its midst is never ended properly, so its client can tell.

To a client that counts, an end that does not come is the only sign: the status is sent long before.
The server closes the connection where an application leaves a response open, without the last
chunk; every HTTP client takes that for an error. The traceback which the server would write for an
exception says nothing that was not logged where the failure was known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


class BrokenOff(Exception):
    """The rest of a response does not come; why is logged already."""


def may_break_off(app: App) -> App:
    """The same ASGI application, which may raise `BrokenOff`."""

    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(BrokenOff):
            await app(scope, receive, send)

    return breaking
