"""The spool from the event loop: in threads, and what was begun there is waited for.

Knows nothing of what is in the files. A thread can't be cancelled: whoever is must not close a file
under it, nor leave one locked that it has only just locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from service.concurrency import finish
from service.errors import JobsUnavailable, RequestError, StorageFull
from service.jobs.spool import MIB, WHOLE, Held, Spool

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT}
DoneT = TypeVar("DoneT")


async def on_disk(work: Callable[[], DoneT]) -> DoneT:
    """Do it in a thread; what the disk says becomes an error for the caller."""
    try:
        return await finish(asyncio.to_thread(work))
    except OSError as exc:
        raise _trouble(exc) from exc


def check_space(spool: Spool, size: int) -> None:
    """Raise `StorageFull` where so many bytes more would not leave enough free; may block.

    The last of the disk is not for uploads: what else is written to it must not fail for them.
    """
    free, reserve = spool.space()
    if free - size < reserve:
        sentence = (
            f"Too little of the disk is free for this import: {free // MIB} MiB, "
            f"of which {reserve // MIB} MiB have to stay free"
        )
        logger.warning("the uploads of imports: %s", sentence)
        raise StorageFull(sentence)


@contextlib.asynccontextmanager
async def begun(spool: Spool, id: str) -> AsyncIterator[Held]:
    """A new file, locked until the end of the block."""
    async with _closing(lambda: spool.new(id), unwanted=Held.remove) as held:
        assert held is not None, "it was made"  # noqa: S101
        yield held


@contextlib.asynccontextmanager
async def taken(spool: Spool, id: str, suffix: str = WHOLE) -> AsyncIterator[Held | None]:
    """A file locked until the end of the block, if nobody else is at it."""
    async with _closing(lambda: spool.take(id, suffix)) as held:
        yield held


async def removed(held: Held) -> None:
    await finish(asyncio.to_thread(held.remove))


@contextlib.asynccontextmanager
async def _closing(
    take: Callable[[], Held | None], unwanted: Callable[[Held], None] = Held.close
) -> AsyncIterator[Held | None]:
    """`unwanted` is done with what was taken for somebody who has gone by then."""
    held = await finish(
        asyncio.to_thread(take),
        undo=lambda late: asyncio.to_thread(lambda: unwanted(late) if late else None),
    )
    try:
        yield held
    finally:
        if held:
            held.close()


def _trouble(exc: OSError) -> RequestError:
    logger.warning("the uploads of imports: %s", exc)
    if exc.errno in FULL:
        return StorageFull("There is no space left for what is imported")
    return JobsUnavailable("What is imported can't be kept on disk just now; the log says why")
