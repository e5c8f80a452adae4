"""An upload that arrives in pieces, and becomes a job once it is complete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from service.concurrency import finish
from service.errors import BodyTooLarge
from service.jobs.async_spool import remove_file, run_on_disk
from service.jobs.job import Job
from service.jobs.spool import SpoolFile

WRITE_BYTES = 1_048_576


class Upload:
    """One upload. `add_job` is called with its size once it is complete.

    `check_space` raises if the disk has no space for so many bytes more.
    """

    def __init__(
        self,
        file: SpoolFile,
        check_space: Callable[[int], None],
        max_bytes: int,
        add_job: Callable[[int], Awaitable[Job]],
    ) -> None:
        self._file = file
        self._check_space = check_space
        self._max_bytes = max_bytes
        self._add_job = add_job
        self._size = 0
        self._buffer = bytearray()
        self._job: Job | None = None

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises `BodyTooLarge` beyond the limit, `StorageFull` if the disk is full."""
        self._size += len(data)
        if self._size > self._max_bytes:
            raise BodyTooLarge(
                f"An import has at most {self._max_bytes} bytes (MAX_IMPORT_BYTES); "
                "send it in parts, or packed with gzip"
            )
        self._buffer += data
        if len(self._buffer) >= WRITE_BYTES:
            await self._flush()

    async def commit(self) -> Job:
        """The upload is complete: queue its job."""
        return await finish(self._commit())

    async def close(self) -> None:
        """Remove the file, unless its job was queued."""
        if self._job is None:
            await remove_file(self._file)

    async def _commit(self) -> Job:
        await self._flush()
        await run_on_disk(self._file.commit)
        self._job = await self._add_job(self._size)
        return self._job

    async def _flush(self) -> None:
        piece, self._buffer = bytes(self._buffer), bytearray()
        if piece:
            await run_on_disk(lambda: self._write(piece))

    def _write(self, piece: bytes) -> None:
        self._check_space(len(piece))
        self._file.write(piece)
