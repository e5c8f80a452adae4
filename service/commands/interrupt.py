"""What SIGINT and SIGTERM do to a command that is not a server.

The first one asks the command to come to an end, in the way that it has given; the second one
cancels it. Either way the exit status is that of a process ended by the signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

OF_A_SIGNAL = 128


class Interrupt:
    """Whether a signal came, and what it does."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.number: int | None = None
        self._cancel = cancel
        self._ask = cancel

    def came(self, number: int) -> None:
        if self.number is None:
            self.number = number
            self._ask()
        else:
            self._cancel()

    @contextlib.contextmanager
    def asks(self, politely: Callable[[], object]) -> Iterator[None]:
        """In this block the first signal does `politely`; if it has come before, at once."""
        self._ask = politely
        if self.number is not None:
            politely()
        try:
            yield
        finally:
            self._ask = self._cancel

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """What is begun in this block must not be cut in half; a first signal counts at its end."""
        with self.asks(lambda: None):
            yield
        if self.number is not None:
            raise asyncio.CancelledError


def run(command: Callable[[Interrupt], Awaitable[int]]) -> int:
    """Run a command in an event loop; returns its exit status."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None, "asyncio.run makes a task"  # noqa: S101
        interrupt = Interrupt(task.cancel)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt.came, number)
        try:
            status = await command(interrupt)
        except asyncio.CancelledError:
            if interrupt.number is None:
                raise
            status = 0
        return OF_A_SIGNAL + interrupt.number if interrupt.number else status

    return asyncio.run(guarded())
