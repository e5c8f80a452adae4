"""Where the process is in its life, shared by the server that ends it and the app that answers."""

from __future__ import annotations


class Lifecycle:
    """`draining` turns true once, when the process was told to stop."""

    __slots__ = ("draining",)

    def __init__(self) -> None:
        self.draining = False
