"""HTTP's own words about caching: what a request wishes for, and what an answer says of itself.

Knows nothing of where answers are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from quart import Request, Response

from service.web.bodies import raw_header
from service.web.search.rendering import with_receipt

FRESH = {"no-cache", "no-store", "max-age=0"}


class CacheDirectives(NamedTuple):
    """Whether an answer has to be searched for now, and whether it may be kept for others."""

    fresh: bool
    may_keep: bool


DEFAULT_DIRECTIVES = CacheDirectives(fresh=False, may_keep=True)


def cache_directives(request: Request) -> CacheDirectives:
    """What `Cache-Control` of a request asks for."""
    if not (control := raw_header(request, b"cache-control")):
        return DEFAULT_DIRECTIVES
    directives = {directive.strip().lower() for directive in control.split(",")}
    return CacheDirectives(bool(directives & FRESH), "no-store" not in directives)


def search_response(
    request: Request, tenant: str, payload: bytes, tag: str, receipt: Mapping[str, Any]
) -> Response:
    """The answer, or 304 where the one who asks a GET has it already.

    The tag is weak: it says that the results are the same, and the receipt never is.
    """
    headers = {
        "ETag": f'W/"{tag}"',
        "Cache-Control": "private, no-cache",  # keep it, but ask whether it is still right
        "X-Cache": receipt["cache"],
    }
    if tenant:
        headers["Vary"] = "Authorization, Api-Key"
    if "age_ms" in receipt:
        headers["Age"] = str(int(receipt["age_ms"] / 1000))
    if _has(request, tag):
        response = Response(status=304, headers=headers)
        del response.headers["Content-Type"], response.headers["Content-Length"]
        return response
    body = with_receipt(payload, receipt)
    return Response(body, content_type="application/json", headers=headers)


def _has(request: Request, tag: str) -> bool:
    """Whether the one who asks has an answer with this tag."""
    asks = request.method != "POST" and "If-None-Match" in request.headers
    return asks and request.if_none_match.contains_weak(tag)
