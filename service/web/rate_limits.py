"""Rate limits over HTTP: every request to a route that needs a grant counts, before it does work.

The header fields are those of quart-rate-limiter and of draft-ietf-httpapi-ratelimit-headers-07.
Later drafts replace them with two fields in another syntax, which few clients read.
"""

from __future__ import annotations

import math

from quart import Quart, Response, g, request, websocket

from service.access.limiting.account import Account, Limits
from service.web.authentication import required_action

HEADERS = {
    "RateLimit-Limit": "How many requests the caller may send at once.",
    "RateLimit-Remaining": "How many of them it may send now.",
    "RateLimit-Reset": "After how many seconds it may send all of them again.",
}


def install(app: Quart, limits: Limits) -> None:
    """Count requests and open the accounts of WebSockets, after authentication."""

    @app.before_request
    async def count_request() -> None:
        if "grant" in g:  # not on public routes, nor on unknown paths
            action = required_action(app, request.endpoint or "")
            g.account = account = limits.account(g.grant, request.remote_addr, action)
            await account.take()

    @app.before_websocket
    async def open_account() -> None:
        if "grant" in g:
            action = required_action(app, websocket.endpoint or "")
            g.account = limits.account(g.grant, websocket.remote_addr, action)

    @app.after_request
    async def add_headers(response: Response) -> Response:
        if (account := g.get("account")) is not None and account.rate is not None:
            response.headers.extend(rate_limit_headers(account))
        return response


def rate_limit_headers(account: Account) -> dict[str, str]:
    """The header fields of an account with a rate."""
    assert account.rate is not None  # noqa: S101
    backlog_s = account.state.backlog_s if account.state is not None else 0.0
    return {
        "RateLimit-Limit": str(account.rate.capacity),
        "RateLimit-Remaining": str(account.remaining),
        "RateLimit-Reset": str(math.ceil(backlog_s)),
    }
