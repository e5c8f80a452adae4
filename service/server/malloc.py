"""How the C library keeps what was freed, and when it gives it back to the system.

glibc gives each thread an arena of its own and keeps large blocks in it once one was freed. With a
dozen threads that tokenize, embed and index, the process then holds some hundred megabytes that
nobody uses (docs/decisions/0014). And of smaller blocks it gives back only what lies behind all
that is still in use; the gaps before stay, until it is asked. Elsewhere than on glibc this does
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator

# From malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8

ARENAS = 2
LARGE = 262_144  # bytes: what is as large goes back to the system when it is freed
TRIM_EVERY_S = 20.0  # it takes some 10 ms, in which others may have to wait for memory


def tune() -> None:
    """Few arenas, and large blocks given back at once."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in (
            (ARENA_MAX, ARENAS),
            (MMAP_THRESHOLD, LARGE),
            (TRIM_THRESHOLD, LARGE),
        ):
            libc.mallopt(option, value)


def trim() -> None:
    """Give the gaps between blocks that are in use back to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


@contextlib.asynccontextmanager
async def trim_periodically() -> AsyncIterator[None]:
    """Give them back now and then, while the block runs."""

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            await asyncio.to_thread(trim)

    task = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
