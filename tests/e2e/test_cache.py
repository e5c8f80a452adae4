"""Tests for cached and shared answers over real sockets."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import httpx

from tests.e2e.process import serving
from tests.upstream import Gate, Upstream

SEARCH_URL = "/api/semantic-search?text_query=cat"


def send_request(url: str, *headers: str, target: str = SEARCH_URL) -> socket.socket:
    """Send a search over a new connection."""
    parts = urlsplit(url)
    connection = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60)
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def read_all(connection: socket.socket) -> str:
    """Read until the service closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_304_has_no_body_on_the_wire(upstream: Upstream) -> None:
    with serving(upstream, CACHE_TTL=60) as (_, url):
        first = httpx.get(url + SEARCH_URL)
        assert first.headers["X-Cache"] == "miss"
        tag = first.headers["ETag"]
        with send_request(url, f"If-None-Match: {tag}", "Connection: close") as connection:
            head, _, rest = read_all(connection).partition("\r\n\r\n")
        lines = head.lower().split("\r\n")
        assert lines[0].startswith("http/1.1 304")
        assert rest == ""
        assert f"etag: {tag}".lower() in lines
        assert not any(line.startswith(("content-", "transfer-encoding")) for line in lines)
        assert httpx.get(url + SEARCH_URL).headers["X-Cache"] == "hit"


async def test_socket_disconnect_does_not_cancel_shared_search(upstream: Upstream) -> None:
    gate = Gate()
    with serving(upstream) as (_, url):
        upstream.behave(gate, "dense")
        first = send_request(url)
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        with send_request(url, "Connection: close") as second:
            await asyncio.to_thread(httpx.get, f"{url}/healthz")  # lets the second request proceed
            first.close()
            other = send_request(url, target=f"{SEARCH_URL}+and+dog")
            await upstream.until(lambda: len(upstream.searches("dense")) == 2)
            other.close()
            await upstream.until(lambda: upstream.searches("dense")[1].abandoned)
            gate.opened.set()
            answer = await asyncio.to_thread(read_all, second)
    assert "x-cache: shared" in answer
    assert [call.abandoned for call in upstream.searches("dense")] == [False, True]
