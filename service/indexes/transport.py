"""The Pinecone client over a wire of our own instead of httpcore.

Why: a search over the client's own stack costs 0.5 to 1.3 ms of CPU, most of it in httpcore's pool,
and a call that is cancelled at the wrong moment costs that pool a connection for good; enough of
them and no call gets through. Over this transport a search costs a tenth of that, and 10,000
cancelled calls leave the pool whole (docs/decisions/0002 and 0011 have the figures).

How: every call of the client ends in its `AsyncHTTPClient`. `LeanHTTPClient` is one whose requests
go over a `Wire`. Requests, answers and exceptions are the client's own. It tries nothing again:
that is decided where deadlines are known (`reads.py`). It rests on names which the client keeps to
itself, so the client's version is pinned, and a test compares the two call by call.
"""

from __future__ import annotations

import asyncio
import math
import ssl
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

from service.indexes.wire import ConnectFailed, Received, Wire, WireError

MAX_HEADS = 1024  # a path has a namespace in it, and there are only so many
HTTPS, HTTP = 443, 80


@cache
def _tls() -> ssl.SSLContext:
    """One TLS context for every lane: reading the CA bundle takes 18 ms."""
    return httpx.create_ssl_context()


class _Read(httpx.Response):
    """A response whose body has been read, and needs no decoding."""

    def __init__(self, received: Received) -> None:
        self.status_code = received.status
        self.headers = httpx.Headers(received.headers)
        self.extensions = {}
        self.is_closed = self.is_stream_consumed = True
        self._content = received.body


def _response(received: Received) -> httpx.Response:
    status, headers, body = received
    if any(name.lower() == b"content-encoding" for name, _ in headers):
        return httpx.Response(status, headers=headers, content=body)
    return _Read(received)


def _head(method: str, url: httpx.URL, headers: httpx.Headers) -> bytes:
    """The request line and the headers, each with its end."""
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), url.raw_path)]
    if "Host" not in headers:
        lines.append(b"Host: " + url.netloc)
    lines += [b"%s: %s" % pair for pair in headers.raw]
    return b"".join(line + b"\r\n" for line in lines)


class WireTransport(httpx.AsyncBaseTransport):
    """One attempt at one request, its answer read to the end."""

    def __init__(self, origin: httpx.URL, connections: int) -> None:
        secure = origin.scheme == "https"
        port = origin.port or (HTTPS if secure else HTTP)
        self._wire = Wire(origin.host, port, _tls() if secure else None, connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        head = _head(request.method, request.url, request.headers)
        seconds = request.extensions.get("timeout", {}).get("read")
        status, headers, body = await self.ask(head + b"\r\n" + content, request.url, seconds)
        return httpx.Response(status, headers=headers, content=body, request=request)

    async def ask(self, raw: bytes, url: httpx.URL, seconds: float | None) -> Received:
        """Send a whole request; what goes wrong is one of httpx's own errors."""
        try:
            if seconds is None:
                return await self._wire.ask(raw)
            async with asyncio.timeout(seconds):
                return await self._wire.ask(raw)
        except TimeoutError as exc:
            raise httpx.ReadTimeout(str(exc), request=httpx.Request("", url)) from exc
        except WireError as exc:
            kind = httpx.ConnectError if isinstance(exc, ConnectFailed) else httpx.ReadError
            raise kind(str(exc), request=httpx.Request("", url)) from exc

    async def aclose(self) -> None:
        await self._wire.close()


class LeanHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, with a short way for what it does most: to post JSON."""

    def __init__(self, config: PineconeConfig, headers: dict[str, str], connections: int) -> None:
        super().__init__(config, api_version="")
        self._headers = headers
        self._base = httpx.URL(config.host.rstrip("/"))
        self._json_headers = httpx.Headers({**headers, "Content-Type": "application/json"})
        self._heads: dict[str, bytes] = {}
        self._transport = WireTransport(self._base, connections)

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
        seconds = limit.read if isinstance(limit, httpx.Timeout) else limit
        if seconds == math.inf:
            seconds = None  # no timer at all
        content = _encode_json(kwargs["json"])
        raw = b"%sContent-Length: %d\r\n\r\n%s" % (self._head(path), len(content), content)
        try:
            received = await self._transport.ask(raw, self._base, seconds)
        except httpx.TransportError as exc:
            _raise_transport_error(exc)
        response = _response(received)
        _raise_for_status(response)
        return response

    def _head(self, path: str) -> bytes:
        if (head := self._heads.get(path)) is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            url = httpx.URL(str(self._base).rstrip("/") + _prepare_path(path))
            head = self._heads[path] = _head("POST", url, self._json_headers)
        return head

    async def close(self) -> None:
        await self._transport.aclose()


def lean(http: AsyncHTTPClient, connections: int) -> LeanHTTPClient:
    """What to put in the place of a client's `_http` before its first call."""
    return LeanHTTPClient(http._config, http._headers, connections)
