"""A body's client has to keep to a pace; the service may take its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import BodyTimeout
from service.web.bodies import MIN_BYTES_PER_S, read_chunks
from service.web.request_body import StreamedBody

PATIENCE_S = 0.4


class Client:
    """Sends a body in steps that a test chooses."""

    def __init__(self) -> None:
        self._body = StreamedBody(None)
        request: Any = SimpleNamespace(body=self._body)
        self.pieces: AsyncIterator[bytes] = read_chunks(request, PATIENCE_S)

    async def sends(self, data: bytes, after_s: float = 0.0) -> bytes:
        """Some bytes, when somebody has waited for them for so long."""
        asyncio.get_running_loop().call_later(after_s, self._body.append, data)
        return await anext(self.pieces)

    async def ends(self) -> None:
        asyncio.get_running_loop().call_soon(self._body.set_complete)
        assert await anext(self.pieces, None) is None


async def test_however_long_the_service_takes_over_a_piece_it_is_not_the_clients_fault() -> None:
    client = Client()
    for _ in range(3):
        assert await client.sends(b"x") == b"x"
        await asyncio.sleep(PATIENCE_S * 1.2)  # a slow disk
    await client.ends()


async def test_a_body_may_take_long_as_a_whole_if_it_comes_at_a_pace() -> None:
    client = Client()
    for _ in range(6):
        await client.sends(b"x" * MIN_BYTES_PER_S, after_s=PATIENCE_S / 4)
    await client.ends()


async def test_a_body_that_trickles_is_given_up_though_it_never_stops() -> None:
    client = Client()

    async def trickling() -> None:
        while True:
            client._body.append(b"x")
            await asyncio.sleep(PATIENCE_S / 8)

    sending = asyncio.create_task(trickling())
    assert await anext(client.pieces) == b"x"
    assert await anext(client.pieces) == b"x"
    async with asyncio.timeout(60):
        with pytest.raises(
            BodyTimeout, match=r"less than 1000 bytes per second for 0\.4 s or more"
        ):
            await the_rest(client)
    sending.cancel()


async def the_rest(client: Client) -> None:
    async for _ in client.pieces:
        pass


async def test_a_body_that_stops_is_given_up() -> None:
    client = Client()
    await client.sends(b"x" * 100 * MIN_BYTES_PER_S)
    async with asyncio.timeout(60):
        with pytest.raises(BodyTimeout):
            await anext(client.pieces)
