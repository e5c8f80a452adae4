"""The door at the front of every route: which need no key, and where a key stands in a request.

A key in the URL is never looked for: URLs end up in logs.
"""

from __future__ import annotations

import asyncio

from pydantic_core import from_json
from quart import Quart, Response, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.access.policy import AccessPolicy, Caller
from service.errors import KeyMissing, KeyRejected

PUBLIC = {
    "openapi",
    "operations.docs",
    "operations.healthz",
    "operations.readyz",
    "operations.root",
}
SAFE = {"GET", "HEAD", "OPTIONS"}
FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


HELLO_S = 10.0
UNWELCOME = 1008
SAY_HELLO = 'say {"type": "hello", "key": "..."} first'


def install(app: Quart, door: AccessPolicy, hello_s: float = HELLO_S) -> None:
    """Ask everybody for a key, but for those who come to what is public or not there at all."""

    @app.before_request
    async def at_the_door() -> None:
        if request.endpoint is not None and request.endpoint not in PUBLIC:
            g.tenant = door.check(_presented(request) if door.has_lock else ())

    @app.before_websocket
    async def at_the_sockets_door() -> Response | None:
        if websocket.endpoint is None:
            return None
        door.check_page(_caller(websocket))
        presented = _presented(websocket)
        await websocket.accept(headers={"X-Request-Id": g.request_id})
        try:
            if door.has_lock and not presented:
                presented = [await _hello(hello_s)]
            g.tenant = door.check(presented)
        except (KeyMissing, KeyRejected) as error:
            await websocket.close(UNWELCOME, error.detail)
            return Response(status=error.status)
        return None


async def _hello(seconds: float) -> str:
    """The key in the first message: a browser can't send it any other way."""
    try:
        async with asyncio.timeout(seconds):
            message = from_json(await websocket.receive())
    except (TimeoutError, ValueError):
        raise KeyMissing(SAY_HELLO) from None
    if not isinstance(message, dict) or message.get("type") != "hello":
        raise KeyMissing(SAY_HELLO)
    key = message.get("key")
    if not isinstance(key, str) or not key:
        raise KeyMissing(SAY_HELLO)
    return key


async def check_write(door: AccessPolicy) -> None:
    """Before a request to a blueprint that writes: may this one?"""
    if request.method not in SAFE:
        door.check_write(_caller(request))


def _caller(asking: BaseRequestWebsocket) -> Caller:
    return Caller(
        address=asking.remote_addr,
        host=asking.headers.get("Host", ""),
        origin=asking.headers.get("Origin"),
        scheme={"ws": "http", "wss": "https"}.get(asking.scheme, asking.scheme),
        forwarded=any(name in asking.headers for name in FORWARDING),
    )


def _presented(request: BaseRequestWebsocket) -> list[str]:
    """The keys that a request shows, in either of the two ways."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, request.headers.get("Api-Key", "").strip()) if key]
