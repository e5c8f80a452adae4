"""HTTP caching of searches: cache keys, request directives and response headers."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
from quart import Request, Response

from service.retrieval.query import Mode, SearchQuery
from service.settings import Settings
from service.version import VERSION
from service.web.asgi import header_value
from service.web.search.rendering import add_receipt

KEY_BYTES = 16
# Answers depend on the settings with these prefixes.
ANSWER_SETTINGS = ("pinecone_", "embedder", "reranker", "text_language")
FRESH_DIRECTIVES = {"no-cache", "no-store", "max-age=0"}


class CacheKeys:
    """Cache keys for searches. Services of other settings or versions have other keys."""

    def __init__(self, settings: Settings) -> None:
        values = {
            name: str(getattr(settings, name))  # a secret becomes asterisks
            for name in type(settings).model_fields
            if name.startswith(ANSWER_SETTINGS)
        }
        self._salt = blake2b(orjson.dumps([VERSION, values]), digest_size=KEY_BYTES).digest()

    def key(self, mode: Mode, query: SearchQuery, timeout_ms: int) -> str:
        """A digest of everything that an answer depends on, except for the tenant."""
        content = orjson.dumps((mode, query, timeout_ms), option=orjson.OPT_SORT_KEYS)
        return blake2b(content, digest_size=KEY_BYTES, key=self._salt).hexdigest()


class CacheDirectives(NamedTuple):
    """Whether to bypass the cache, and whether the answer may be stored (RFC 9111, 5.2.1)."""

    fresh: bool
    may_store: bool


DEFAULT_DIRECTIVES = CacheDirectives(fresh=False, may_store=True)


def cache_directives(request: Request) -> CacheDirectives:
    """Parse the `Cache-Control` header of a request."""
    if not (control := header_value(request.scope, b"cache-control")):
        return DEFAULT_DIRECTIVES
    directives = {directive.strip().lower() for directive in control.split(",")}
    return CacheDirectives(bool(directives & FRESH_DIRECTIVES), "no-store" not in directives)


def search_response(
    request: Request, tenant: str, payload: bytes, tag: str, receipt: Mapping[str, Any]
) -> Response:
    """The answer to a search, or 304 if a GET has its ETag already.

    The ETag is weak: equal ETags mean equal results, while the receipts differ.
    """
    headers = {
        "ETag": f'W/"{tag}"',
        "Cache-Control": "private, no-cache",  # store, but revalidate before each use
        "X-Cache": receipt["cache"],
    }
    if tenant:
        headers["Vary"] = "Authorization, Api-Key"
    if "age_ms" in receipt:
        headers["Age"] = str(int(receipt["age_ms"] / 1000))
    if _is_not_modified(request, tag):
        response = Response(status=304, headers=headers)
        del response.headers["Content-Type"], response.headers["Content-Length"]
        return response
    body = add_receipt(payload, receipt)
    return Response(body, content_type="application/json", headers=headers)


def _is_not_modified(request: Request, tag: str) -> bool:
    is_conditional = request.method != "POST" and "If-None-Match" in request.headers
    return is_conditional and request.if_none_match.contains_weak(tag)
