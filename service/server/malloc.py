"""Tunes glibc's malloc to return freed memory to the system. No-op with other C libraries.

glibc has an arena per thread and keeps large freed blocks in it. With a dozen threads that
tokenize, embed and index, some hundred megabytes then stay unused (docs/decisions/0014). Of smaller
blocks it returns only those at the top of the heap; the gaps below stay until `malloc_trim`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator

# From malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8

ARENAS = 2
LARGE_BYTES = 262_144  # blocks of this size are returned as soon as they are freed
TRIM_INTERVAL_S = 20.0  # a trim takes some 10 ms, in which allocations may block


def tune() -> None:
    """Limit the number of arenas, and return large blocks at once."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in (
            (ARENA_MAX, ARENAS),
            (MMAP_THRESHOLD, LARGE_BYTES),
            (TRIM_THRESHOLD, LARGE_BYTES),
        ):
            libc.mallopt(option, value)


def trim() -> None:
    """Return the gaps between used blocks to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


@contextlib.asynccontextmanager
async def trim_periodically() -> AsyncIterator[None]:
    """Call `trim` periodically during the block."""

    async def trim_forever() -> None:
        while True:
            await asyncio.sleep(TRIM_INTERVAL_S)
            await asyncio.to_thread(trim)

    task = asyncio.create_task(trim_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
