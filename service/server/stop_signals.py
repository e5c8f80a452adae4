"""The signals that stop the service: SIGTERM or SIGINT drain it, a second SIGINT cuts that short.

Process managers repeat SIGTERM (Heroku does), so a repeated one means nothing. SIGINT is Ctrl-C,
and a person who presses it again does not want to wait.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_stop_signals(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], object], hurry: Callable[[], object]
) -> None:
    """Call `stop` at each SIGTERM and SIGINT, and `hurry` at each SIGINT after the first one.

    Handlers that were installed before are replaced.
    """
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        stop()
        if interrupts > 1:
            hurry()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, interrupted)
