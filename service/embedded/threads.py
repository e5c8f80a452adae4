"""Calls in a thread, which an async caller waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from service.embedded.filters.index import CheckCancelled

T = TypeVar("T")


async def run_in(executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """Run `call` in a thread. It runs to its end, even if the caller is cancelled."""
    return await asyncio.get_running_loop().run_in_executor(executor, call)


async def run_cancellable(executor: ThreadPoolExecutor, call: Callable[[CheckCancelled], T]) -> T:
    """Run `call` in a thread. Once the caller is cancelled, its argument raises an exception."""
    is_cancelled = threading.Event()

    def check_cancelled() -> None:
        if is_cancelled.is_set():
            raise CancelledError("no caller waits for this any more")

    try:
        return await run_in(executor, lambda: call(check_cancelled))
    except asyncio.CancelledError:
        is_cancelled.set()
        raise
