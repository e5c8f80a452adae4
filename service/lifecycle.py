"""Where the process is in its life, shared by the server that ends it and the app that answers."""

from __future__ import annotations

from collections.abc import Callable


class Lifecycle:
    """`draining` turns true once, when the process was told to stop."""

    __slots__ = ("_told", "draining")

    def __init__(self) -> None:
        self.draining = False
        self._told: list[Callable[[], None]] = []

    def drain(self) -> None:
        """The process is on its way out: whoever keeps streams open is told to end them."""
        if not self.draining:
            self.draining = True
            for tell in self._told:
                tell()

    def when_draining(self, tell: Callable[[], None]) -> None:
        """Call `tell` once, when it is time; it neither waits nor fails."""
        self._told.append(tell)
