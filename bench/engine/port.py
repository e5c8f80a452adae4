"""The protocol that every engine of the comparison implements.

An engine is opened on its own folder by one process at a time. The methods are `async`, so that an
engine with an event loop is timed on it; the others never wait.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from bench.engine.corpus import Batch, Vectors

Filter = tuple[str, str]  # field and required value


class Engine(Protocol):
    """One engine with one configuration. The constructor imports its library and opens nothing."""

    packages: tuple[str, ...]  # reported with their versions; the first is the engine
    batch: int  # preferred number of records per call

    async def open(self, folder: Path) -> None:
        """Open or create the data in the folder."""
        ...

    async def load(self, batch: Batch) -> None: ...

    async def finish(self) -> None:
        """Finish loading: build indexes and make all records searchable."""
        ...

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by vector; None if not supported."""
        ...

    async def search_words(self, words: str, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by words; None if not supported."""
        ...

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str] | None:
        """The ids of the best ten by meaning, embedding included; None if not supported."""
        ...

    async def close(self) -> None: ...


class Rival:
    """Base class of the other engines."""

    packages: tuple[str, ...] = ()
    batch = 1_000

    async def search_words(self, words: str, filter: Filter | None) -> list[str] | None:  # noqa: ARG002 - not supported
        return None

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str] | None:  # noqa: ARG002 - not supported
        return None


def versions(engine: type[Engine]) -> dict[str, str]:
    """The versions of its packages; empty if one is not installed."""
    try:
        return {name: version(name) for name in engine.packages}
    except PackageNotFoundError:
        return {}
