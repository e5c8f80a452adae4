"""The Pinecone client over aiohttp instead of httpcore.

Why: a search over the client's own stack costs 0.5 to 1.3 ms of CPU, most of it in httpcore's pool,
and a call that is cancelled at the wrong moment costs that pool a connection for good; enough of
them and no call gets through. Over this transport a search costs 0.1 ms, and 10,000 cancelled calls
leave the pool whole (docs/decisions/0002 has the figures).

How: every call of the client ends in its `AsyncHTTPClient`. `LeanHTTPClient` is one whose requests
go through aiohttp. Requests, answers and exceptions are the client's own. It tries nothing again:
that is decided where deadlines are known (`reads.py`). It rests on names which the client keeps to
itself, so the client's version is pinned, and a test compares the two call by call.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import aiohttp
import httpx
from pinecone._internal.config import PineconeConfig
from pinecone._internal.http_client import (
    AsyncHTTPClient,
    _encode_json,
    _prepare_path,
    _raise_for_status,
    _raise_transport_error,
)
from yarl import URL

_FAULTS: list[tuple[type[Exception], type[httpx.TransportError]]] = [
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientOSError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
]


MAX_WHOLE = 2**20  # of what aiohttp writes at once without a warning; the rest goes in pieces
NO_TIMEOUT = aiohttp.ClientTimeout()
RawHeaders = Sequence[tuple[bytes, bytes]]
_CONSUMED = httpx.ByteStream(b"")


@cache
def _tls() -> ssl.SSLContext:
    """One TLS context for every lane: reading the CA bundle takes 18 ms."""
    return httpx.create_ssl_context()


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    """Parsing a URL costs as much as sending one; a namespace has only so many of them."""
    return httpx.URL(url)


@lru_cache(maxsize=1024)
def _for_aiohttp(url: httpx.URL) -> URL:
    return URL(str(url), encoded=True)


def _sendable(content: bytes) -> bytes | io.BytesIO | None:
    return io.BytesIO(content) if len(content) > MAX_WHOLE else content or None


class _Post(httpx.Request):
    """A request whose parts are ready. Nobody changes one, so its headers are shared."""

    def __init__(
        self, url: httpx.URL, headers: httpx.Headers, content: bytes, seconds: float | None
    ) -> None:
        self.method = "POST"
        self.url = url
        self.headers = headers
        self._content = content
        self.stream = httpx.ByteStream(content)
        self.extensions = {"timeout": {"read": seconds}}


class _Read(httpx.Response):
    """A response whose body has been read, and needs no decoding."""

    def __init__(
        self, status: int, headers: RawHeaders, content: bytes, request: httpx.Request
    ) -> None:
        super().__init__(status, headers=headers, stream=_CONSUMED, request=request)
        self._content = content
        self.is_closed = self.is_stream_consumed = True


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One attempt at one request, its answer read to the end."""

    def __init__(self, connections: int) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # httpx.Response does it
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seconds = request.extensions.get("timeout", {}).get("read")
        try:
            # aiohttp's own timer can take a cancellation for its own; this one can't.
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    request.method,
                    _for_aiohttp(request.url),
                    data=_sendable(request.content),
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=NO_TIMEOUT,
                ) as answer,
            ):
                headers, content = answer.raw_headers, await answer.read()
                if "Content-Encoding" not in answer.headers:
                    return _Read(answer.status, headers, content, request)
                return httpx.Response(
                    answer.status, headers=headers, content=content, request=request
                )
        except Exception as exc:
            for theirs, ours in _FAULTS:
                if isinstance(exc, theirs):
                    raise ours(str(exc) or type(exc).__name__, request=request) from exc
            raise

    async def aclose(self) -> None:
        await self._session.close()


class LeanHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, with a short way for what it does most: to post JSON."""

    def __init__(self, config: PineconeConfig, headers: dict[str, str], connections: int) -> None:
        super().__init__(config, api_version="")
        self._headers = headers
        self._connections = connections
        self._base = config.host.rstrip("/")
        self._json_headers = httpx.Headers({**headers, "Content-Type": "application/json"})
        self._transport: AiohttpTransport | None = None

    def _ensure_transport(self) -> AiohttpTransport:
        if self._transport is None:
            self._transport = AiohttpTransport(self._connections)
        return self._transport

    def _ensure_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._base,
                headers=self._headers,
                timeout=self._config.timeout,
                transport=self._ensure_transport(),
            )
        return self._client

    async def post(
        self, path: str, timeout: float | httpx.Timeout | None = None, **kwargs: Any
    ) -> httpx.Response:
        if kwargs.keys() != {"json"}:
            return await super().post(path, timeout=timeout, **kwargs)
        limit = self._config.timeout if timeout is None else timeout
        request = _Post(
            _parsed(self._base + _prepare_path(path)),
            self._json_headers,
            _encode_json(kwargs["json"]),
            limit.read if isinstance(limit, httpx.Timeout) else limit,
        )
        try:
            response = await self._ensure_transport().handle_async_request(request)
        except httpx.TransportError as exc:
            _raise_transport_error(exc)
        _raise_for_status(response)
        return response

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()


def lean(http: AsyncHTTPClient, connections: int) -> LeanHTTPClient:
    """What to put in the place of a client's `_http` before its first call."""
    return LeanHTTPClient(http._config, http._headers, connections)
