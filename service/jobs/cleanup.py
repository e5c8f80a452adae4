"""Periodic cleanup: files without a job, jobs without a file, jobs of a lost disk, old jobs.

It is safe at any time and in any process: a file in use is locked, and a job that has ended does
not change.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from service.errors import JobsUnavailable
from service.jobs.async_spool import lock_file, remove_file
from service.jobs.job import now
from service.jobs.spool import PARTIAL, Spool
from service.jobs.store import Store

logger = logging.getLogger(__name__)

CLEANUP_S = 30.0
NODE_TIMEOUT = timedelta(hours=1)
RETENTION = timedelta(days=30)
NO_FILE = "Its upload is gone from the disk; send it again"
NO_NODE = "The machine that file its upload is gone; send it again"


class Cleanup:
    """The cleanup of one node: a disk with uploads."""

    def __init__(self, spool: Spool, store: Store, node: str) -> None:
        self._spool = spool
        self._store = store
        self._node = node

    async def run(self) -> None:
        """Clean up periodically, until it is cancelled."""
        while True:
            try:
                await self.clean_up()
            except JobsUnavailable:
                pass  # it was logged
            except Exception:
                logger.exception("the cleanup of imports failed")
            await asyncio.sleep(CLEANUP_S)

    async def clean_up(self) -> None:
        await self._store.touch(self._node)
        for id in await asyncio.to_thread(self._spool.partial):
            await self._remove_partial(id)
        await self._remove_uploads_without_job()
        for id in await self._store.unended(self._node):
            if not await asyncio.to_thread(self._spool.has, id):
                await self._fail(id, NO_FILE)
        for id in await self._store.lost(now() - NODE_TIMEOUT):
            await self._fail(id, NO_NODE)
        await self._store.delete_ended(now() - RETENTION)

    async def _remove_uploads_without_job(self) -> None:
        ids = await asyncio.to_thread(self._spool.uploaded)
        needed = {job.id for job in await self._store.some(ids) if not job.ended}
        for id in ids:
            if id not in needed:
                await self._remove_orphan(id)

    async def _remove_orphan(self, id: str) -> None:
        """Look again with the file locked: its job may have been added in between."""
        async with lock_file(self._spool, id) as file:
            if file is None:
                return
            job = await self._store.get(id)
            if job is None or job.ended:
                await remove_file(file)
                logger.info("removed the upload of import %s, which no job needs", id)

    async def _remove_partial(self, id: str) -> None:
        """Remove an upload that its process left."""
        async with lock_file(self._spool, id, PARTIAL) as file:
            if file is not None:
                await remove_file(file)
                logger.info("removed an incomplete upload")

    async def _fail(self, id: str, sentence: str) -> None:
        if await self._store.end(id, "failed", sentence):
            logger.warning("import %s failed: %s", id, sentence)
