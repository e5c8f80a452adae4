"""How the C library keeps what was freed: tuned once, before there are threads.

glibc gives each thread an arena of its own and keeps large blocks in it once one was freed. With a
dozen threads that tokenize, embed and index, the process then holds some hundred megabytes that
nobody uses (docs/decisions/0014). Elsewhere than on glibc this does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes

# From malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8

ARENAS = 2
LARGE = 262_144  # bytes: what is as large goes back to the system when it is freed


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
