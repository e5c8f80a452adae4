"""Imports modules that need SQLAlchemy, which takes a third of a second, in a thread.

One thread at a time: its modules import each other in circles, and where two threads meet in such a
circle, Python gives one of them a module that is not complete.
"""

from __future__ import annotations

import asyncio
import importlib
import threading

_LOCK = threading.Lock()


async def load(module: str) -> None:
    """Import a module, so that importing it again takes no time."""
    await asyncio.to_thread(_load, module)


def _load(module: str) -> None:
    with _LOCK:
        importlib.import_module(module)
