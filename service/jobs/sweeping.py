"""Tidies up: files without a job, jobs without a file, jobs of a disk that is gone, old jobs.

Knows nothing of how jobs are worked on. Everything here is right at any time, in any process: a
file that somebody is at is locked, and a job that has ended is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from service.errors import JobsUnavailable
from service.jobs.disk import removed, taken
from service.jobs.job import now
from service.jobs.spool import PART, Spool
from service.jobs.store import Store

logger = logging.getLogger(__name__)

SWEEP_S = 30.0
SILENT = timedelta(hours=1)
KEPT = timedelta(days=30)
NO_FILE = "Its upload is gone from the disk; send it again"
NO_NODE = "The machine that held its upload is gone; send it again"


class Sweeper:
    """For one node: the disk that this process has its uploads on."""

    def __init__(self, spool: Spool, store: Store, node: str) -> None:
        self._spool = spool
        self._store = store
        self._node = node

    async def run(self) -> None:
        """Now and then, for ever."""
        while True:
            try:
                await self.sweep()
            except JobsUnavailable:
                pass  # it was logged
            except Exception:
                logger.exception("imports can't be tidied up just now")
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        await self._store.touch(self._node)
        for id in await asyncio.to_thread(self._spool.parts):
            await self._rest(id)
        await self._files_without_a_job()
        for id in await self._store.unended(self._node):
            if not await asyncio.to_thread(self._spool.has, id):
                await self._lost(id, NO_FILE)
        for id in await self._store.unheard_of(now() - SILENT):
            await self._lost(id, NO_NODE)
        await self._store.forget(now() - KEPT)

    async def _files_without_a_job(self) -> None:
        ids = await asyncio.to_thread(self._spool.whole)
        needed = {job.id for job in await self._store.some(ids) if not job.ended}
        for id in ids:
            if id not in needed:
                await self._orphan(id)

    async def _orphan(self, id: str) -> None:
        """It may have got its job only just now: asked again while nobody else can be at it."""
        async with taken(self._spool, id) as held:
            if held is None:
                return
            job = await self._store.get(id)
            if job is None or job.ended:
                await removed(held)
                logger.info("removed the upload of import %s, which nobody needs", id)

    async def _rest(self, id: str) -> None:
        """Of an upload whose process is gone."""
        async with taken(self._spool, id, PART) as held:
            if held is not None:
                await removed(held)
                logger.info("removed an upload that did not come to its end")

    async def _lost(self, id: str, sentence: str) -> None:
        if await self._store.end(id, "failed", sentence):
            logger.warning("import %s failed: %s", id, sentence)
