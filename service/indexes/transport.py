"""The Pinecone client over our own connection pool instead of httpcore.

Why: a search over the client's own stack costs 0.5 to 1.3 ms of CPU, most of it in httpcore's pool,
and a call that is cancelled at the wrong moment leaks a slot of that pool; after enough of them no
call gets through. Over this transport a search costs a tenth of that, and 10,000 cancelled calls
leave the pool whole (docs/decisions/0002 and 0011 have the figures).

How: every call of the client ends in its `AsyncHTTPClient`. `PooledHTTPClient` is one whose
requests go over a `ConnectionPool`. Requests, responses and exceptions are the client's own. It
does not retry: `reads.py` does, where deadlines are known. It uses private names of the client, so
the client's version is pinned, and a test compares the two call by call.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
from pinecone._internal.config import PineconeConfig
from pinecone._internal.http_client import (
    AsyncHTTPClient,
    _encode_json,
    _prepare_path,
    _raise_for_status,
    _raise_transport_error,
)

from service.indexes.connection_pool import (
    ConnectFailed,
    ConnectionBroken,
    ConnectionPool,
    RawResponse,
)

MAX_CACHED_HEADS = 1024  # a path contains a namespace, so there are many
HTTPS_PORT, HTTP_PORT = 443, 80


@cache
def _tls() -> ssl.SSLContext:
    """One TLS context for every lane: reading the CA bundle takes 18 ms."""
    return httpx.create_ssl_context()


class _BufferedResponse(httpx.Response):
    """A response whose body has been read and needs no decoding."""

    def __init__(self, raw: RawResponse) -> None:
        self.status_code = raw.status
        self.headers = httpx.Headers(raw.headers)
        self.extensions = {}
        self.is_closed = self.is_stream_consumed = True
        self._content = raw.body


def _response(raw: RawResponse) -> httpx.Response:
    status, headers, body = raw
    if any(name.lower() == b"content-encoding" for name, _ in headers):
        return httpx.Response(status, headers=headers, content=body)
    return _BufferedResponse(raw)


def _head(method: str, url: httpx.URL, headers: httpx.Headers) -> bytes:
    """The request line and the headers, without the empty line behind them."""
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), url.raw_path)]
    if "Host" not in headers:
        lines.append(b"Host: " + url.netloc)
    lines += [b"%s: %s" % pair for pair in headers.raw]
    return b"".join(line + b"\r\n" for line in lines)


class PoolTransport(httpx.AsyncBaseTransport):
    """An httpx transport that sends each request once and reads the whole response."""

    def __init__(self, origin: httpx.URL, max_idle: int) -> None:
        is_tls = origin.scheme == "https"
        port = origin.port or (HTTPS_PORT if is_tls else HTTP_PORT)
        self._pool = ConnectionPool(origin.host, port, _tls() if is_tls else None, max_idle)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        head = _head(request.method, request.url, request.headers)
        timeout_s = request.extensions.get("timeout", {}).get("read")
        status, headers, body = await self.send(head + b"\r\n" + content, request.url, timeout_s)
        return httpx.Response(status, headers=headers, content=body, request=request)

    async def send(self, request: bytes, url: httpx.URL, timeout_s: float | None) -> RawResponse:
        """Send a serialized request; raises httpx's own errors."""
        try:
            if timeout_s is None or timeout_s == math.inf:  # needs no timer
                return await self._pool.send(request)
            async with asyncio.timeout(timeout_s):
                return await self._pool.send(request)
        except TimeoutError as exc:
            raise httpx.ReadTimeout(str(exc), request=httpx.Request("", url)) from exc
        except ConnectionBroken as exc:
            kind = httpx.ConnectError if isinstance(exc, ConnectFailed) else httpx.ReadError
            raise kind(str(exc), request=httpx.Request("", url)) from exc

    async def aclose(self) -> None:
        await self._pool.close()


MakeTransport = Callable[[httpx.URL, int], PoolTransport]
"""Makes the transport to an origin with a number of idle connections."""


class PooledHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, with a fast path for its most frequent call, a JSON POST."""

    def __init__(
        self,
        config: PineconeConfig,
        headers: dict[str, str],
        max_idle: int,
        make_transport: MakeTransport = PoolTransport,
    ) -> None:
        super().__init__(config, api_version="")
        self._headers = headers
        self._base = httpx.URL(config.host.rstrip("/"))
        self._json_headers = httpx.Headers({**headers, "Content-Type": "application/json"})
        self._heads: dict[str, bytes] = {}
        self._transport = make_transport(self._base, max_idle)

    def _ensure_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._base,
                headers=self._headers,
                timeout=self._config.timeout,
                transport=self._transport,
            )
        return self._client

    async def post(
        self, path: str, timeout: float | httpx.Timeout | None = None, **kwargs: Any
    ) -> httpx.Response:
        if kwargs.keys() != {"json"}:
            return await super().post(path, timeout=timeout, **kwargs)
        limit = self._config.timeout if timeout is None else timeout
        timeout_s = limit.read if isinstance(limit, httpx.Timeout) else limit
        content = _encode_json(kwargs["json"])
        request = b"%sContent-Length: %d\r\n\r\n%s" % (self._head(path), len(content), content)
        try:
            raw = await self._transport.send(request, self._base, timeout_s)
        except httpx.TransportError as exc:
            _raise_transport_error(exc)
        response = _response(raw)
        _raise_for_status(response)
        return response

    def _head(self, path: str) -> bytes:
        if (head := self._heads.get(path)) is None:
            if len(self._heads) >= MAX_CACHED_HEADS:
                self._heads.clear()
            url = httpx.URL(str(self._base).rstrip("/") + _prepare_path(path))
            head = self._heads[path] = _head("POST", url, self._json_headers)
        return head

    async def close(self) -> None:
        await self._transport.aclose()


def pooled_http_client(
    http: AsyncHTTPClient, max_idle: int, make_transport: MakeTransport = PoolTransport
) -> PooledHTTPClient:
    """A replacement for a Pinecone client's `_http`, to be set before its first call."""
    return PooledHTTPClient(http._config, http._headers, max_idle, make_transport)
