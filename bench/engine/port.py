"""What every engine of the comparison can do, and what it says of itself.

An engine is opened on a folder of its own by one process at a time. Its methods are `async` so that
one that lives on an event loop is timed there; a rival's simply never wait.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from bench.engine.corpus import Batch, Vectors

Filter = tuple[str, str]  # a field, and the value that it has to have


class Engine(Protocol):
    """One engine with one configuration."""

    packages: tuple[str, ...]  # whose versions are reported; the first one is the engine
    batch: int  # records that it likes to be given at once

    async def open(self, folder: Path) -> None:
        """Open what is in the folder, or make it."""
        ...

    async def load(self, batch: Batch) -> None: ...

    async def finish(self) -> None:
        """After the last record: build what is built at the end, make everything searchable."""
        ...

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by vector; None if it can't search like this."""
        ...

    async def search_words(self, words: str, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by words; None if it can't."""
        ...

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by what the words mean, embedding included; None if it can't."""
        ...

    async def close(self) -> None: ...


class Rival:
    """What the rivals have in common."""

    packages: tuple[str, ...] = ()
    batch = 1_000

    async def search_words(self, words: str, filter: Filter | None) -> list[str] | None:  # noqa: ARG002 - it has none
        return None

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str] | None:  # noqa: ARG002 - it has none
        return None


def versions(engine: type[Engine]) -> dict[str, str]:
    """The versions of its packages; nothing if one is not installed."""
    try:
        return {name: version(name) for name in engine.packages}
    except PackageNotFoundError:
        return {}
