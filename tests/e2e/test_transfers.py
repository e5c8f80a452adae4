"""Uploads and exports on a real port: those that trickle, and those that are one too many."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import MakeSettings
from tests.e2e.here import served
from tests.upstream import Upstream

LINE = b'{"_id": "a", "chunk_text": "x"}\n'
NDJSON = "application/x-ndjson"
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.ndjson.gz"\r\n\r\n'


@pytest.fixture
async def where(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[str]:
    async with served(make_settings(data_dir=str(tmp_path), max_transfers=1)) as (address, _):
        yield address


@pytest.fixture
async def hasty(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[str]:
    """A service that waits for no client for long."""
    settings = make_settings(data_dir=str(tmp_path), max_transfers=1, body_timeout_s=0.5)
    async with served(settings) as (address, _):
        yield address


class Wire:
    """A client that sends what it likes, when it likes. At the end of the block it hangs up."""

    def __init__(self, where: str, head: str) -> None:
        self._url = urlsplit(where)
        self._head = f"{head}Host: 127.0.0.1\r\n\r\n".encode()

    async def __aenter__(self) -> Wire:
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


async def eventually_let_in(where: str, method: str, path: str, content: bytes = b"") -> int:
    """The status, once there is a place."""
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=where) as client:
        while True:
            answer = await client.request(
                method, path, content=content, headers={"Content-Type": NDJSON}
            )
            if answer.status_code != 503:
                return answer.status_code
            assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("media_type", "head"), [(NDJSON, LINE), (FORM, FILE + b"\x1f\x8b")])
async def test_an_upload_that_trickles_is_given_up_and_makes_room_for_the_next(
    hasty: str, media_type: str, head: bytes
) -> None:
    async with Wire(hasty, uploading(media_type, 1_000_000)) as wire:
        wire.send(head)
        answer = asyncio.create_task(wire.until(b"}"))
        for _ in range(400):
            if (await asyncio.wait({answer}, timeout=0.05))[0]:
                break
            wire.send(b" ")
        else:
            raise AssertionError("it may trickle for ever")
        assert (await answer).startswith(b"HTTP/1.1 408")
        assert b'"code":"body_timeout"' in await answer
        assert b"less than 1000 bytes a second" in await answer
        assert await eventually_let_in(hasty, "POST", "/api/imports", LINE) == 202


@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"])
async def test_whoever_may_not_upload_now_can_send_its_body_and_read_the_answer(
    where: str, more: str
) -> None:
    async with Wire(where, uploading(NDJSON, 1_000_000)) as first:
        first.send(LINE * 1_000)
        await until_full(where)
        answer = await asyncio.to_thread(blocking_upload, where, more)
    assert b"HTTP/1.1 503" in answer
    assert b"retry-after: 5" in answer
    assert b'"code":"overloaded"' in answer
    assert b"MAX_TRANSFERS" in answer
    assert await eventually_let_in(where, "POST", "/api/imports", LINE) == 202


def blocking_upload(where: str, more: str) -> bytes:
    """As a client does it that reads nothing before it has sent all."""
    url = urlsplit(where)
    body = LINE * 500_000  # more than the kernel takes for somebody who does not listen
    head = f"{uploading(NDJSON, len(body))}Host: 127.0.0.1\r\nConnection: close\r\n{more}\r\n"
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60) as wire:
        wire.sendall(head.encode())
        wire.sendall(body)
        return b"".join(iter(lambda: wire.recv(65_536), b""))


async def until_full(where: str) -> None:
    """Until an upload that was begun has its place."""
    headers = {"Content-Type": NDJSON}
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=where, headers=headers) as client:
        while (await client.post("/api/imports")).status_code != 503:
            pass


async def test_an_export_whose_client_hangs_up_makes_room_for_the_next(
    where: str, upstream: Upstream
) -> None:
    stored = upstream.records.of("dense")
    for n in range(3_000):
        stored[f"r{n:05}"] = {"chunk_text": "words that can be packed " * 200}
    async with Wire(where, "GET /api/export HTTP/1.1\r\n") as first:
        assert (await first.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        async with httpx.AsyncClient(base_url=where) as client:
            refused = await client.get("/api/export")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"]
    assert await eventually_let_in(where, "GET", "/api/export") == 200
