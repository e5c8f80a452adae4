"""Jobs in the database. Knows no files, and not who works on a job.

Each change is one statement that says in which state it may happen, so that two processes never
both do it. Every change that can be seen has a revision of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ingest.marks import Mark
from service.ingest.reading import Spot
from service.jobs.database import Database
from service.jobs.job import UNENDED, Job, LineError, Status, now
from service.jobs.table import clean, imports, job_of, row_of

COLUMNS = imports.c


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that is running, where to go on with it, and whether somebody wants it to end."""

    job: Job
    mark: Mark
    to_cancel: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What one save says."""

    mark: Mark
    bytes_read: int
    retries: int
    errors: Sequence[LineError]
    rate: float
    eta_s: float | None


class Store:
    """The jobs of every process that has the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, job: Job, node: str) -> None:
        await self._database.run(lambda c: c.execute(imports.insert().values(**row_of(job, node))))

    async def get(self, id: str) -> Job | None:
        return next(iter(await self.some([id])), None)

    async def some(self, ids: Sequence[str]) -> list[Job]:
        return await self._jobs(sa.select(imports).where(COLUMNS.id.in_(ids)))

    async def page(self, limit: int, before: str | None, status: Status | None) -> list[Job]:
        """Newest first: an id begins with the time."""
        query = sa.select(imports).order_by(COLUMNS.id.desc()).limit(limit)
        if before is not None:
            query = query.where(COLUMNS.id < before)
        if status is not None:
            query = query.where(COLUMNS.status == status)
        return await self._jobs(query)

    async def claim(self, id: str) -> Claimed | None:
        """The job is running from now on; None where there is no such job, or it has ended."""
        began = sa.func.coalesce(COLUMNS.started_at, now())
        return await self._change(id, UNENDED, status="running", started_at=began)

    async def save(self, id: str, progress: Progress, **changes: Any) -> Claimed | None:
        """How far it has come; None where it is not running any more."""
        mark = progress.mark
        return await self._change(
            id,
            ("running",),
            bytes_read=progress.bytes_read,
            after_lines=mark.after.lines,
            after_offset=mark.after.offset,
            written=mark.written,
            failed=mark.failed,
            retries=progress.retries,
            errors=json.dumps([(line, clean(detail)) for line, detail in progress.errors]),
            rate=progress.rate,
            eta_s=progress.eta_s,
            **changes,
        )

    async def end(self, id: str, status: Status, detail: str | None) -> Job | None:
        """It has ended, without another word of how far it has come; None where it had already."""
        ended = {"status": status, "detail": clean(detail), "finished_at": now(), "eta_s": None}
        changed = await self._change(id, UNENDED, **ended)
        return changed.job if changed else None

    async def to_cancel(self, id: str) -> bool | None:
        """Whether somebody wants it to end; None where it is not running any more."""
        query = sa.select(COLUMNS.to_cancel).where(COLUMNS.id == id, COLUMNS.status == "running")
        rows = await self._database.run(lambda c: c.execute(query))
        return rows.scalar_one_or_none()

    async def cancel(self, id: str) -> Job | None:
        """One that waits has ended; of one that runs, it is noted that it should."""

        async def work(connection: AsyncConnection) -> None:
            waits = imports.update().where(COLUMNS.id == id, COLUMNS.status == "queued")
            await connection.execute(
                waits.values(
                    status="cancelled",
                    finished_at=now(),
                    revision=COLUMNS.revision + 1,
                )
            )
            runs = imports.update().where(COLUMNS.id == id, COLUMNS.status == "running")
            await connection.execute(runs.values(to_cancel=True))

        await self._database.run(work)
        return await self.get(id)

    async def touch(self, node: str) -> None:
        """The node is there, and so are its uploads."""
        mine = COLUMNS.status.in_(UNENDED) & (COLUMNS.node == node)
        await self._database.run(
            lambda c: c.execute(imports.update().where(mine).values(seen_at=now()))
        )

    async def unended(self, node: str) -> list[str]:
        """The ids of the node's jobs that wait or run."""
        query = sa.select(COLUMNS.id).where(COLUMNS.status.in_(UNENDED), COLUMNS.node == node)
        rows = await self._database.run(lambda c: c.execute(query))
        return list(rows.scalars())

    async def unheard_of(self, since: datetime) -> list[str]:
        """The ids of jobs that wait or run, on a node of which nothing was heard since."""
        query = sa.select(COLUMNS.id).where(COLUMNS.status.in_(UNENDED), COLUMNS.seen_at < since)
        rows = await self._database.run(lambda c: c.execute(query))
        return list(rows.scalars())

    async def forget(self, before: datetime) -> None:
        """Jobs that ended before."""
        await self._database.run(
            lambda c: c.execute(imports.delete().where(COLUMNS.finished_at < before))
        )

    async def _jobs(self, query: sa.Select[Any]) -> list[Job]:
        async def work(connection: AsyncConnection) -> list[Job]:
            return [job_of(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.run(work)

    async def _change(self, id: str, of: Sequence[Status], **values: Any) -> Claimed | None:
        change = (
            imports.update()
            .where(COLUMNS.id == id, COLUMNS.status.in_(of))
            .values(revision=COLUMNS.revision + 1, seen_at=now(), **values)
            .returning(imports)
        )

        async def work(connection: AsyncConnection) -> Claimed | None:
            row = (await connection.execute(change)).mappings().first()
            return row and _claimed(row)

        return await self._database.run(work)


def _claimed(row: Any) -> Claimed:
    after = Spot(row["after_lines"], row["after_offset"])
    mark = Mark(0, row["written"], row["failed"], after)
    return Claimed(job_of(row), mark, row["to_cancel"])
