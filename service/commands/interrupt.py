"""SIGINT and SIGTERM for commands that are not servers.

The first signal asks the command to stop, the second one cancels it. Either way the exit status is
that of a process that the signal has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

SIGNAL_STATUS = 128


class Interrupt:
    """The first signal that was received, and how the command reacts to it."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.number: int | None = None
        self._cancel = cancel
        self._stop = cancel

    def receive(self, number: int) -> None:
        if self.number is None:
            self.number = number
            self._stop()
        else:
            self._cancel()

    @contextlib.contextmanager
    def on_signal(self, stop: Callable[[], object]) -> Iterator[None]:
        """In this block the first signal calls `stop`, at once if it was received before."""
        self._stop = stop
        if self.number is not None:
            stop()
        try:
            yield
        finally:
            self._stop = self._cancel

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A first signal that is received in this block takes effect at its end."""
        with self.on_signal(lambda: None):
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
            loop.add_signal_handler(number, interrupt.receive, number)
        try:
            status = await command(interrupt)
        except asyncio.CancelledError:
            if interrupt.number is None:
                raise
            status = 0
        return SIGNAL_STATUS + interrupt.number if interrupt.number else status

    return asyncio.run(guarded())
