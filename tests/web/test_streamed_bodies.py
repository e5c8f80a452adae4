"""Tests for the minimum rate of streamed request bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import BodyTimeout
from service.web.bodies import MIN_BYTES_PER_S, read_chunks
from service.web.http_connection import StreamedBody

TIMEOUT_S = 0.4


class SlowClient:
    """Sends a body in steps that a test chooses."""

    def __init__(self) -> None:
        self._body = StreamedBody(None)
        request: Any = SimpleNamespace(body=self._body)
        self.chunks: AsyncIterator[bytes] = read_chunks(request, TIMEOUT_S)

    async def send(self, data: bytes, after_s: float = 0.0) -> bytes:
        """Send `data` after a delay, and return the chunk that the service reads."""
        asyncio.get_running_loop().call_later(after_s, self._body.append, data)
        return await anext(self.chunks)

    async def end(self) -> None:
        asyncio.get_running_loop().call_soon(self._body.set_complete)
        assert await anext(self.chunks, None) is None


async def test_read_chunks_ignores_time_spent_in_service() -> None:
    client = SlowClient()
    for _ in range(3):
        assert await client.send(b"x") == b"x"
        await asyncio.sleep(TIMEOUT_S * 1.2)  # a slow disk
    await client.end()


async def test_read_chunks_allows_long_body_at_min_rate() -> None:
    client = SlowClient()
    for _ in range(6):
        await client.send(b"x" * MIN_BYTES_PER_S, after_s=TIMEOUT_S / 4)
    await client.end()


async def test_read_chunks_times_out_for_trickling_body() -> None:
    client = SlowClient()

    async def trickle() -> None:
        while True:
            client._body.append(b"x")
            await asyncio.sleep(TIMEOUT_S / 8)

    sending = asyncio.create_task(trickle())
    assert await anext(client.chunks) == b"x"
    assert await anext(client.chunks) == b"x"
    async with asyncio.timeout(60):
        with pytest.raises(
            BodyTimeout, match=r"less than 1000 bytes per second for 0\.4 s or more"
        ):
            await read_rest(client)
    sending.cancel()


async def read_rest(client: SlowClient) -> None:
    async for _ in client.chunks:
        pass


async def test_read_chunks_times_out_for_stalled_body() -> None:
    client = SlowClient()
    await client.send(b"x" * 100 * MIN_BYTES_PER_S)
    async with asyncio.timeout(60):
        with pytest.raises(BodyTimeout):
            await anext(client.chunks)
