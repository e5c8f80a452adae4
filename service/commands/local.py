"""The service in this process: the app that `serve` would serve, with nobody listening.

What a command does goes through the app's own API, so it means here what it means there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx

from service.app import create_app, running
from service.commands.interrupt import Interrupt
from service.commands.remote import BATCH_SIZE, Remote
from service.errors import CommandFailed, StartupFailed
from service.settings import Settings

NOWHERE = "http://localhost"  # a request has to have an address
EMBEDDED_BATCH = 512  # a third quicker than 96


@contextlib.asynccontextmanager
async def opened(settings: Settings, interrupt: Interrupt) -> AsyncIterator[Remote]:
    """Open what the settings name, and close it."""
    app = create_app(settings, background=False)
    async with contextlib.AsyncExitStack() as stack:
        with _way_out_told(), interrupt.later():
            await stack.enter_async_context(running(app))
        yield await stack.enter_async_context(
            Remote(
                NOWHERE,
                next(iter(settings.service_keys), None),
                settings.pinecone_text_field,
                EMBEDDED_BATCH if settings.backend == "embedded" else BATCH_SIZE,
                httpx.ASGITransport(app=app),  # type: ignore[arg-type]  # its scope is a plain dict
            ).opened()
        )


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
