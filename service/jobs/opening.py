"""Opens the database of the imports, again and again until it can be.

Knows nothing of what is kept there. The service does not wait for it: whoever needs it does, but
not for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.backoff import Backoff
from service.errors import JobsUnavailable
from service.jobs.spool import Spool

if TYPE_CHECKING:
    from service.jobs.database import Database
    from service.jobs.store import Store

logger = logging.getLogger(__name__)

BACKOFF = Backoff(first_s=0.5, longest_s=10.0, jitter=False)
WAIT_S = 5.0  # for the first try, which others made at the start may need


@dataclass(frozen=True, slots=True)
class Opened:
    """The jobs, and the name of the disk on which uploads lie."""

    store: Store
    node: str


class Opening:
    """`url` is of a PostgreSQL; without it, the jobs are in SQLite beside the uploads."""

    def __init__(self, spool: Spool, url: str | None) -> None:
        self._spool = spool
        self._url = url
        self._tried = asyncio.Event()
        self._opened: Opened | None = None
        self._database: Database | None = None
        self._why = "The imports are not open; the service is starting or stopping"

    async def get(self) -> Opened:
        """What was opened, or `JobsUnavailable`."""
        if self._opened is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._tried.wait()
        if self._opened is None:
            raise JobsUnavailable(self._why, retry_after=BACKOFF.first_s * 10)
        return self._opened

    async def run(self) -> Opened:
        """Try until it is open."""
        failures = 0
        while True:
            try:
                opened = self._opened = await self._open()
            except JobsUnavailable as exc:
                self._why = exc.detail
            except OSError as exc:
                self._why = "The folder of the imports can't be used just now; the log says why"
                logger.warning("the folder of the imports: %s", exc)
            except Exception:
                logger.exception("the imports can't be opened")
                self._why = "The imports can't be opened; the log of the service says why"
            else:
                return opened
            finally:
                self._tried.set()
            failures += 1
            await asyncio.sleep(BACKOFF.pause_s(failures))

    async def close(self) -> None:
        self._opened = None
        if self._database:
            await self._database.close()

    async def _open(self) -> Opened:
        node = await asyncio.to_thread(self._spool.node)
        if self._database is None:
            # SQLAlchemy takes a third of a second to import, which nobody has to wait for.
            await asyncio.to_thread(importlib.import_module, "service.jobs.store")
            from service.jobs.database import Database  # noqa: PLC0415

            self._database = Database(self._url, self._spool.folder / "jobs.db")
        from service.jobs.store import Store  # noqa: PLC0415

        await self._database.migrate()
        return Opened(Store(self._database), node)
