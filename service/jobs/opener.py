"""Opens the store of jobs, with retries until the database answers.

The service starts without it; a caller that needs the store waits for the first attempt.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.backoff import Backoff
from service.concurrency import wait_until_set
from service.database.loading import load
from service.errors import JobsUnavailable
from service.jobs.spool import Spool

if TYPE_CHECKING:
    from service.database.database import Database
    from service.jobs.store import Store

logger = logging.getLogger(__name__)

BACKOFF = Backoff(first_s=0.5, longest_s=10.0, jitter=False)
WAIT_S = 15.0  # how long a caller waits for the first attempt: imports and migrations take a while


@dataclass(frozen=True, slots=True)
class OpenStore:
    """The store, and the name of the disk with the uploads."""

    store: Store
    node: str


class StoreOpener:
    """`url` is that of a PostgreSQL; without it, the jobs are in SQLite beside the uploads."""

    def __init__(self, spool: Spool, url: str | None) -> None:
        self._spool = spool
        self._url = url
        self._attempted = asyncio.Event()
        self._opened: OpenStore | None = None
        self._database: Database | None = None
        self._reason = "The imports are not open; the service is starting or stopping"

    async def get(self) -> OpenStore:
        """The store; `JobsUnavailable` while it can't be opened."""
        if self._opened is None:
            await wait_until_set(self._attempted, WAIT_S)
        if self._opened is None:
            raise JobsUnavailable(self._reason, retry_after=BACKOFF.first_s * 10)
        return self._opened

    async def run(self) -> OpenStore:
        """Open the store, however many attempts it takes."""
        failures = 0
        while True:
            try:
                opened = self._opened = await self._open()
            except JobsUnavailable as exc:
                self._reason = exc.detail
            except OSError as exc:
                self._reason = "The folder of the imports can't be used; the log says why"
                logger.warning("the folder of the imports: %s", exc)
            except Exception:
                logger.exception("can't open the imports")
                self._reason = "The imports can't be opened; the log of the service says why"
            else:
                return opened
            finally:
                self._attempted.set()
            failures += 1
            await asyncio.sleep(BACKOFF.pause_s(failures))

    async def close(self) -> None:
        self._opened = None
        if self._database:
            await self._database.close()

    async def _open(self) -> OpenStore:
        node = await asyncio.to_thread(self._spool.node)
        if self._database is None:
            await load("service.jobs.store")
            from service.database.database import Database  # noqa: PLC0415
            from service.jobs.table import IMPORTS  # noqa: PLC0415

            self._database = Database(self._url, self._spool.folder / "jobs.db", IMPORTS)
        from service.jobs.store import Store  # noqa: PLC0415

        await self._database.migrate()
        return OpenStore(Store(self._database), node)
