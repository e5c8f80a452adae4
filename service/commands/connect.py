"""Where a command works: at the service behind `--url`, or on what the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from service.commands.interrupt import Interrupt
from service.ingest.target import Target
from service.retrieval.query import Mode
from service.settings import Settings


class Connection(Target, Protocol):
    """Takes batches of records, and answers searches in the JSON of the API."""

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]: ...


def connect(
    settings: Settings, url: str | None, interrupt: Interrupt
) -> AbstractAsyncContextManager[Connection]:
    """Open one of the two. Only the one that is opened is imported."""
    if url:
        from service.commands.remote import open_remote

        return open_remote(settings, url)
    from service.commands.local import open_local

    return open_local(settings, interrupt)
