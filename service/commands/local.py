"""The service in this process: the app that `serve` would serve, with nobody listening.

A search goes through the app's own API, so it means here what it means there. The one piece that
goes past the app is `_Writer`, which is to be replaced by the API's way to write, once it has one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import httpx

from service.app import create_app, running
from service.commands.interrupt import Interrupt
from service.commands.remote import Remote
from service.errors import CommandFailed, StartupFailed
from service.indexes.registry import Index
from service.ingest.target import Written
from service.settings import Settings
from service.sources import sources_for

NOWHERE = "http://localhost"  # a request has to have an address
EMBEDDED_BATCH = 512


@contextlib.asynccontextmanager
async def searching(settings: Settings, interrupt: Interrupt) -> AsyncIterator[Remote]:
    """Open what the settings name, for searches."""
    app = create_app(settings)
    async with contextlib.AsyncExitStack() as stack:
        with _way_out_told(), interrupt.later():
            await stack.enter_async_context(running(app))
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # its scope is a plain dict
        remote = Remote(NOWHERE, None, settings.pinecone_text_field, transport)
        yield await stack.enter_async_context(remote.opened())


@contextlib.asynccontextmanager
async def loading(settings: Settings, interrupt: Interrupt) -> AsyncIterator[_Writer]:
    """Open what the settings name, for records."""
    if settings.backend == "pinecone":
        raise CommandFailed("Loading into Pinecone goes through a running service: give --url")
    sources = sources_for(settings.model_copy(update={"load_samples": False}))
    async with contextlib.AsyncExitStack() as stack:
        with _way_out_told(), interrupt.later():
            opened = await stack.enter_async_context(sources.opened())
        yield _Writer(opened.dense, opened.text_field, settings.pinecone_namespace)


class _Writer:
    """Writes through the embedded index's documents dialect."""

    batch_size = EMBEDDED_BATCH

    def __init__(self, index: Index, text_field: str, namespace: str) -> None:
        self.text_field = text_field
        self._index = index
        self._namespace = namespace

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        async def write(index: Any) -> int:
            wanted = namespace or self._namespace
            done = await index.documents.upsert(namespace=wanted, documents=records)
            return cast("int", done.upserted_count)

        return Written(await self._index.pool.call(write))


@contextlib.contextmanager
def _way_out_told() -> Iterator[None]:
    """Where a running service has the directory, the service itself is the way in."""
    try:
        yield
    except StartupFailed as exc:
        if "belongs to process" not in exc.detail:
            raise
        owner = exc.detail.partition(", which is running")[0]
        raise CommandFailed(
            f"{owner}, which is running; if that is the service, reach it with --url, "
            "such as --url http://127.0.0.1:8000"
        ) from exc
