"""The imports of an app, while it is open. Knows no HTTP, nor what the records are written to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from service.ingest.target import Target
from service.jobs.job import Job, JobPage, Plan, Status
from service.lifecycle import Lifecycle


class Upload:
    """A file that arrives."""

    async def write(self, data: bytes) -> None:
        """Add some bytes. `BodyTooLarge` beyond the limit, `StorageFull` where the disk is."""
        raise NotImplementedError

    async def keep(self) -> Job:
        """The file is whole: a job that waits for its turn."""
        raise NotImplementedError


class Jobs:
    """The imports of an app.

    `folder` is where uploads lie, and the jobs, unless `database_url` names a PostgreSQL. `begun`
    counts the requests that the service has been asked so far: an import makes room for them.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str | None,
        target: Target,
        lifecycle: Lifecycle,
        *,
        max_bytes: int,
        batches_at_once: int,
        begun: Callable[[], int] = lambda: 0,
    ) -> None:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Jobs]:
        """Work off what is there, until the block ends. A database that is down is waited for."""
        raise NotImplementedError
        yield self

    def receive(self, plan: Plan) -> contextlib.AbstractAsyncContextManager[Upload]:
        """A file of its own for an upload; gone if the block is left without `keep`."""
        raise NotImplementedError

    async def get(self, id: str) -> Job:
        """One job; `NotFound` where there is none."""
        raise NotImplementedError

    async def list(self, limit: int, cursor: str | None, status: Status | None = None) -> JobPage:
        """Jobs, newest first."""
        raise NotImplementedError

    async def cancel(self, id: str) -> Job:
        """Stop it for good, and wait a while for that; one that has ended stays as it is."""
        raise NotImplementedError

    def watch(
        self, id: str, after: int | None = None
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Job]]:
        """The job's revisions as they come: those after `after` that are remembered, else the
        present one, then each new one. Ends after the last one (which is always given), and when
        the service is stopping; raises `TooSlow` in whoever has fallen too far behind.
        """
        raise NotImplementedError
