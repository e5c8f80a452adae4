"""Request bodies with a limit, and with back-pressure where they are streamed.

They replace Quart's own body, which differs between its releases: 0.23 checks the limit only when
the whole body has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

BUFFER_BYTES = 262_144


class RequestBody(Body):
    """A body to await as a whole, or to iterate over. The arguments have Quart's names."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self._max_bytes = max_content_length
        self._buffer = bytearray()
        self._is_complete = False
        self._changed = asyncio.Event()
        self._is_too_large = self._exceeds_limit(expected_content_length or 0)

    def append(self, data: bytes) -> None:
        if self._is_too_large or not data:
            return
        self._buffer += data
        if self._exceeds_limit(len(self._buffer)):
            self._is_too_large = True
            self._buffer.clear()
        self._changed.set()

    def set_complete(self) -> None:
        self._is_complete = True
        self._changed.set()

    def set_result(self, data: bytes) -> None:
        self.append(data)
        self.set_complete()

    def clear(self) -> None:
        self._buffer.clear()

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._read().__await__()

    async def _read(self) -> bytes:
        while not self._is_complete and not self._is_too_large:
            await self._wait_for_change()
        self._check_limit()
        return bytes(self._buffer)

    async def __anext__(self) -> bytes:
        while not self._buffer and not self._is_complete and not self._is_too_large:
            await self._wait_for_change()
        self._check_limit()
        if not self._buffer:
            raise StopAsyncIteration
        chunk = bytes(self._buffer)
        self._buffer.clear()
        return chunk

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _exceeds_limit(self, size: int) -> bool:
        return self._max_bytes is not None and size > self._max_bytes

    def _check_limit(self) -> None:
        if self._is_too_large:
            raise RequestEntityTooLarge


class StreamedBody(RequestBody):
    """A body of any size to iterate over. It can't be awaited: nothing would empty its buffer."""

    def __init__(self, expected_bytes: int | None) -> None:
        super().__init__(expected_bytes, None)
        self._room = asyncio.Event()
        self._room.set()

    def append(self, data: bytes) -> None:
        super().append(data)
        if len(self._buffer) >= BUFFER_BYTES:
            self._room.clear()

    async def __anext__(self) -> bytes:
        chunk = await super().__anext__()
        self._room.set()
        return chunk

    async def wait_for_room(self) -> None:
        await self._room.wait()
