"""Measures how late the event loop runs a timer, all the time and at little cost.

`admission/loop_monitor.py` measures the same a hundred times per second, but only under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

INTERVAL_S = 0.5


@contextlib.contextmanager
def measured_loop_lag(record: Callable[[float], None]) -> Iterator[None]:
    """Call `record` with the seconds by which a timer is late, until the end of the block."""
    loop = asyncio.get_running_loop()

    timer: asyncio.TimerHandle | None = None

    def schedule() -> None:
        nonlocal timer
        timer = loop.call_later(INTERVAL_S, tick, time.monotonic() + INTERVAL_S)

    def tick(due: float) -> None:
        record(max(time.monotonic() - due, 0.0))
        schedule()

    schedule()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
