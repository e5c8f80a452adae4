"""The spool for the event loop: file operations run in threads, and are waited for.

A thread can't be cancelled. So a cancelled caller waits for it, rather than close a file that the
thread uses or leave one locked that the thread has just locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from service.concurrency import finish
from service.disk_space import is_disk_full
from service.errors import JobsUnavailable, RequestError, StorageFull
from service.jobs.spool import UPLOADED, Spool, SpoolFile

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


async def run_on_disk(work: Callable[[], ResultT]) -> ResultT:
    """Run `work` in a thread. An `OSError` becomes a `RequestError`."""
    try:
        return await finish(asyncio.to_thread(work))
    except OSError as exc:
        raise _disk_error(exc) from exc


def check_space(spool: Spool, size: int) -> None:
    """Raise `StorageFull` if `size` more bytes would not leave the reserve free. It may block.

    The reserve is for everything else that is written to the disk.
    """
    if shortage := spool.disk.shortage(size):
        sentence = f"Too little of the disk is free for this import: {shortage}"
        logger.warning("the uploads of imports: %s", sentence)
        raise StorageFull(sentence)


@contextlib.asynccontextmanager
async def create_file(spool: Spool, id: str) -> AsyncIterator[SpoolFile]:
    """A new file, locked until the end of the block."""
    async with _closing(lambda: spool.create(id), undo=SpoolFile.remove) as file:
        assert file is not None, "create returns a file"  # noqa: S101
        yield file


@contextlib.asynccontextmanager
async def lock_file(
    spool: Spool, id: str, suffix: str = UPLOADED
) -> AsyncIterator[SpoolFile | None]:
    """A file, locked until the end of the block; None if it is gone, or locked already."""
    async with _closing(lambda: spool.lock(id, suffix)) as file:
        yield file


async def remove_file(file: SpoolFile) -> None:
    await finish(asyncio.to_thread(file.remove))


@contextlib.asynccontextmanager
async def _closing(
    open_file: Callable[[], SpoolFile | None], undo: Callable[[SpoolFile], None] = SpoolFile.close
) -> AsyncIterator[SpoolFile | None]:
    """`undo` is called with a file whose caller was cancelled while it was opened."""
    file = await finish(
        asyncio.to_thread(open_file),
        undo=lambda late: asyncio.to_thread(lambda: undo(late) if late else None),
    )
    try:
        yield file
    finally:
        if file:
            file.close()


def _disk_error(exc: OSError) -> RequestError:
    logger.warning("the uploads of imports: %s", exc)
    if is_disk_full(exc):
        return StorageFull("There is no space left for what is imported")
    return JobsUnavailable("The upload can't be written to disk just now; the log says why")
