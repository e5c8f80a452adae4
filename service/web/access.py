"""The door at the front of every route: which need no key, and where a key stands in a request.

A key in the URL is never looked for: URLs end up in logs.
"""

from __future__ import annotations

from quart import Quart, Request, g, request

from service.access.door import Caller, Door

PUBLIC = {
    "openapi",
    "operations.docs",
    "operations.healthz",
    "operations.readyz",
    "operations.root",
}
SAFE = {"GET", "HEAD", "OPTIONS"}
FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


def install(app: Quart, door: Door) -> None:
    """Ask every request for its key, but for those to what is public or not there at all."""

    @app.before_request
    async def at_the_door() -> None:
        if request.endpoint is not None and request.endpoint not in PUBLIC:
            g.tenant = door.check(_presented(request) if door.has_lock else ())


async def check_write(door: Door) -> None:
    """Before a request to a blueprint that writes: may this one?"""
    if request.method not in SAFE:
        door.check_write(
            Caller(
                address=request.remote_addr,
                host=request.headers.get("Host", ""),
                origin=request.headers.get("Origin"),
                scheme=request.scheme,
                forwarded=any(name in request.headers for name in FORWARDING),
            )
        )


def _presented(request: Request) -> list[str]:
    """The keys that a request shows, in either of the two ways."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, request.headers.get("Api-Key", "").strip()) if key]
