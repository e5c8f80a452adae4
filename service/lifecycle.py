"""Whether the process is draining: the server starts it, the app reacts to it."""

from __future__ import annotations

from collections.abc import Callable


class Lifecycle:
    """`draining` becomes true once, when the process is asked to stop."""

    __slots__ = ("_callbacks", "draining")

    def __init__(self) -> None:
        self.draining = False
        self._callbacks: list[Callable[[], None]] = []

    def drain(self) -> None:
        """Start draining: call the callbacks, which end what is open for long."""
        if not self.draining:
            self.draining = True
            for callback in self._callbacks:
                callback()

    def when_draining(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when draining starts. It must neither block nor raise."""
        self._callbacks.append(callback)
