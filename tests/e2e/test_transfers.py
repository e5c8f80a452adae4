"""Tests for slow and excess uploads and exports over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import MakeSettings
from tests.e2e.in_process import serving_in_process
from tests.upstream import Upstream

LINE = b'{"_id": "a", "chunk_text": "x"}\n'
NDJSON = "application/x-ndjson"
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.ndjson.gz"\r\n\r\n'


@pytest.fixture
async def address(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[str]:
    async with serving_in_process(make_settings(data_dir=str(tmp_path), max_transfers=1)) as (
        address,
        _,
    ):
        yield address


@pytest.fixture
async def impatient_address(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[str]:
    """A service with a short body timeout."""
    settings = make_settings(data_dir=str(tmp_path), max_transfers=1, body_timeout_s=0.5)
    async with serving_in_process(settings) as (address, _):
        yield address


class RawClient:
    """A client that sends raw bytes. It disconnects at the end of the block."""

    def __init__(self, address: str, head: str) -> None:
        self._url = urlsplit(address)
        self._head = f"{head}Host: 127.0.0.1\r\n\r\n".encode()

    async def __aenter__(self) -> RawClient:
        self._reader, self._writer = await asyncio.open_connection(
            self._url.hostname, self._url.port
        )
        self.send(self._head)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(60):
            return await self._reader.readuntil(end)


def uploading(media_type: str, length: int) -> str:
    return (
        f"POST /api/imports HTTP/1.1\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n"
    )


async def wait_for_slot(address: str, method: str, path: str, content: bytes = b"") -> int:
    """Retry until the request is not rejected with 503; returns the status."""
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=address) as client:
        while True:
            answer = await client.request(
                method, path, content=content, headers={"Content-Type": NDJSON}
            )
            if answer.status_code != 503:
                return answer.status_code
            assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("media_type", "head"), [(NDJSON, LINE), (FORM, FILE + b"\x1f\x8b")])
async def test_trickling_upload_times_out_and_releases_slot(
    impatient_address: str, media_type: str, head: bytes
) -> None:
    async with RawClient(impatient_address, uploading(media_type, 1_000_000)) as client:
        client.send(head)
        answer = asyncio.create_task(client.until(b"}"))
        for _ in range(400):
            if (await asyncio.wait({answer}, timeout=0.05))[0]:
                break
            client.send(b" ")
        else:
            raise AssertionError("the trickling upload did not time out")
        assert (await answer).startswith(b"HTTP/1.1 408")
        assert b'"code":"body_timeout"' in await answer
        assert b"less than 1000 bytes per second" in await answer
        assert await wait_for_slot(impatient_address, "POST", "/api/imports", LINE) == 202


@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"])
async def test_rejected_upload_can_read_response_after_sending(address: str, more: str) -> None:
    async with RawClient(address, uploading(NDJSON, 1_000_000)) as first:
        first.send(LINE * 1_000)
        await wait_until_full(address)
        answer = await asyncio.to_thread(blocking_upload, address, more)
    assert b"HTTP/1.1 503" in answer
    assert b"retry-after: 5" in answer
    assert b'"code":"overloaded"' in answer
    assert b"MAX_TRANSFERS" in answer
    assert await wait_for_slot(address, "POST", "/api/imports", LINE) == 202


def blocking_upload(address: str, more: str) -> bytes:
    """Upload as a client that reads nothing before it has sent everything."""
    url = urlsplit(address)
    body = LINE * 500_000  # more than the socket buffers hold
    head = f"{uploading(NDJSON, len(body))}Host: 127.0.0.1\r\nConnection: close\r\n{more}\r\n"
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60) as client:
        client.sendall(head.encode())
        client.sendall(body)
        return b"".join(iter(lambda: client.recv(65_536), b""))


async def wait_until_full(address: str) -> None:
    """Wait until the first upload is counted."""
    headers = {"Content-Type": NDJSON}
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=address, headers=headers) as client:
        while (await client.post("/api/imports")).status_code != 503:
            pass


async def test_export_disconnect_releases_slot(address: str, upstream: Upstream) -> None:
    stored = upstream.records.of("dense")
    for n in range(3_000):
        stored[f"r{n:05}"] = {"chunk_text": "words that can be packed " * 200}
    async with RawClient(address, "GET /api/export HTTP/1.1\r\n") as first:
        assert (await first.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        async with httpx.AsyncClient(base_url=address) as client:
            rejected = await client.get("/api/export")
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert rejected.headers["Retry-After"]
    assert await wait_for_slot(address, "GET", "/api/export") == 200
