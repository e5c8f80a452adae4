"""Which service a command works on: the one at `--url`, or the one that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from service.commands import local
from service.commands.interrupt import Interrupt
from service.commands.remote import Remote, key_from_environment
from service.settings import Settings


@contextlib.asynccontextmanager
async def reached(
    settings: Settings, url: str | None, interrupt: Interrupt
) -> AsyncIterator[Remote]:
    """Open the one or the other."""
    if url:
        async with Remote(
            url, key_from_environment(), settings.pinecone_text_field
        ).opened() as remote:
            yield remote
    else:
        async with local.opened(settings, interrupt) as here:
            yield here
