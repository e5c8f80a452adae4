"""A file that arrives: counted, written piece by piece, and kept only when it is whole.

Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from service.concurrency import finish
from service.errors import BodyTooLarge
from service.jobs.disk import on_disk, removed
from service.jobs.job import Job
from service.jobs.spool import Held

PIECE = 1_048_576  # bytes that are written at once


class Upload:
    """One upload. `entered` makes a job of it, once it is whole.

    `check_space` raises where so many bytes more are too many for the disk.
    """

    def __init__(
        self,
        held: Held,
        check_space: Callable[[int], None],
        max_bytes: int,
        entered: Callable[[int], Awaitable[Job]],
    ) -> None:
        self._held = held
        self._check_space = check_space
        self._max_bytes = max_bytes
        self._entered = entered
        self._size = 0
        self._waiting = bytearray()
        self._kept: Job | None = None

    async def write(self, data: bytes) -> None:
        """Add some bytes. `BodyTooLarge` beyond the limit, `StorageFull` where the disk is."""
        self._size += len(data)
        if self._size > self._max_bytes:
            raise BodyTooLarge(
                f"An import has at most {self._max_bytes} bytes (MAX_IMPORT_BYTES); "
                "send it in parts, or packed with gzip"
            )
        self._waiting += data
        if len(self._waiting) >= PIECE:
            await self._flush()

    async def keep(self) -> Job:
        """The file is whole: a job that waits for its turn."""
        return await finish(self._keep())

    async def close(self) -> None:
        """Leave nothing behind, unless it was kept."""
        if self._kept is None:
            await removed(self._held)

    async def _keep(self) -> Job:
        await self._flush()
        await on_disk(self._held.keep)
        self._kept = await self._entered(self._size)
        return self._kept

    async def _flush(self) -> None:
        piece, self._waiting = bytes(self._waiting), bytearray()
        if piece:
            await on_disk(lambda: self._write(piece))

    def _write(self, piece: bytes) -> None:
        self._check_space(len(piece))
        self._held.write(piece)
