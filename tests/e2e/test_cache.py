"""Kept and shared answers of the service as its users run it."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import httpx

from tests.e2e.process import serving
from tests.upstream import Gate, Upstream

TARGET = "/api/semantic-search?text_query=cat"


def connected(url: str, *headers: str, target: str = TARGET) -> socket.socket:
    """A connection over which the search is asked for."""
    parts = urlsplit(url)
    connection = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60)
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def received(connection: socket.socket) -> str:
    """All that comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_a_304_is_a_head_and_nothing_more(upstream: Upstream) -> None:
    with serving(upstream, CACHE_TTL=60) as (_, url):
        first = httpx.get(url + TARGET)
        assert first.headers["X-Cache"] == "miss"
        tag = first.headers["ETag"]
        with connected(url, f"If-None-Match: {tag}", "Connection: close") as connection:
            head, _, rest = received(connection).partition("\r\n\r\n")
        lines = head.lower().split("\r\n")
        assert lines[0].startswith("http/1.1 304")
        assert rest == ""
        assert f"etag: {tag}".lower() in lines
        assert not any(line.startswith(("content-", "transfer-encoding")) for line in lines)
        assert httpx.get(url + TARGET).headers["X-Cache"] == "hit"


async def test_who_hangs_up_does_not_take_the_answer_from_the_others(upstream: Upstream) -> None:
    gate = Gate()
    with serving(upstream) as (_, url):
        upstream.behave(gate, "dense")
        first = connected(url)
        await upstream.until(lambda: len(upstream.searches("dense")) == 1)
        with connected(url, "Connection: close") as second:
            await asyncio.to_thread(httpx.get, f"{url}/healthz")  # the second has had its turn
            first.close()
            other = connected(url, target=f"{TARGET}+and+dog")
            await upstream.until(lambda: len(upstream.searches("dense")) == 2)
            other.close()
            await upstream.until(lambda: upstream.searches("dense")[1].abandoned)
            gate.opened.set()
            answer = await asyncio.to_thread(received, second)
    assert "x-cache: shared" in answer
    assert [call.abandoned for call in upstream.searches("dense")] == [False, True]
