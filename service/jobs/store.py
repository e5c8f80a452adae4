"""The jobs in the database.

Each change is one statement with the states in which it is allowed, so that of two processes one
makes it. Each visible change gives the job a new revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.database import Database
from service.indexes.records import WriteCounts
from service.ingest.checkpoint import Checkpoint
from service.ingest.reading import Position
from service.jobs.job import STATUSES, UNENDED, Job, LineError, Status, now
from service.jobs.table import clean, imports, job_of, row_of

COLUMNS = imports.c


@dataclass(frozen=True, slots=True)
class Claim:
    """A running job, its checkpoint, and whether a client has canceled it."""

    job: Job
    checkpoint: Checkpoint
    to_cancel: bool


@dataclass(frozen=True, slots=True)
class SavedProgress:
    """What one save writes."""

    checkpoint: Checkpoint
    bytes_read: int
    retries: int
    errors: Sequence[LineError]
    rate: float
    eta_s: float | None
    notes: Sequence[str]


class Store:
    """The jobs of all processes with this database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, job: Job, node: str) -> None:
        await self._execute(imports.insert().values(**row_of(job, node)))

    async def get(self, id: str) -> Job | None:
        return next(iter(await self.some([id])), None)

    async def some(self, ids: Sequence[str]) -> list[Job]:
        return await self._jobs(sa.select(imports).where(COLUMNS.id.in_(ids)))

    async def page(
        self, limit: int, before: str | None, status: Status | None, owner: str | None
    ) -> list[Job]:
        """Newest first; an id begins with the time. Without an owner, the jobs of all."""
        query = sa.select(imports).order_by(COLUMNS.id.desc()).limit(limit)
        if before is not None:
            query = query.where(COLUMNS.id < before)
        if owner is not None:
            query = query.where(COLUMNS.owner == owner)
        if status is not None:
            query = query.where(COLUMNS.status == status)
        return await self._jobs(query)

    async def counts(self) -> dict[Status, int]:
        """The number of jobs in each state."""
        query = sa.select(COLUMNS.status, sa.func.count().label("jobs")).group_by(COLUMNS.status)
        found = {row.status: row.jobs for row in await self._execute(query)}
        return {status: found.get(status, 0) for status in STATUSES}

    async def claim(self, id: str) -> Claim | None:
        """Mark the job as running. None if there is no such job, or it has ended."""
        began = sa.func.coalesce(COLUMNS.started_at, now())
        return await self._change(id, UNENDED, status="running", started_at=began)

    async def save(self, id: str, progress: SavedProgress, **changes: Any) -> Claim | None:
        """Save the progress. None if the job is not running any more."""
        checkpoint = progress.checkpoint
        return await self._change(
            id,
            ("running",),
            bytes_read=progress.bytes_read,
            after_lines=checkpoint.after.lines,
            after_offset=checkpoint.after.offset,
            after_items=checkpoint.after.items,
            written=checkpoint.written,
            failed=checkpoint.failed,
            **asdict(checkpoint.counts),
            retries=progress.retries,
            errors=json.dumps([(line, clean(detail)) for line, detail in progress.errors]),
            notes=json.dumps([clean(note) for note in progress.notes]),
            rate=progress.rate,
            eta_s=progress.eta_s,
            **changes,
        )

    async def end(self, id: str, status: Status, detail: str | None) -> Job | None:
        """End the job without changing its progress. None if it had already ended."""
        ended = {"status": status, "detail": clean(detail), "finished_at": now(), "eta_s": None}
        changed = await self._change(id, UNENDED, **ended)
        return changed.job if changed else None

    async def to_cancel(self, id: str) -> bool | None:
        """Whether a client has canceled it; None if the job is not running any more."""
        query = sa.select(COLUMNS.to_cancel).where(COLUMNS.id == id, COLUMNS.status == "running")
        return (await self._execute(query)).scalar_one_or_none()

    async def cancel(self, id: str, owner: str | None) -> Job | None:
        """Cancel a queued job; ask the process that runs a running one to cancel it.

        None if there is no such job of this owner.
        """
        mine = COLUMNS.id == id if owner is None else (COLUMNS.id == id) & (COLUMNS.owner == owner)

        async def work(connection: AsyncConnection) -> None:
            waits = imports.update().where(mine, COLUMNS.status == "queued")
            revision = COLUMNS.revision + 1
            await connection.execute(
                waits.values(status="cancelled", finished_at=now(), revision=revision)
            )
            runs = imports.update().where(mine, COLUMNS.status == "running")
            await connection.execute(runs.values(to_cancel=True))

        await self._database.run(work)
        return next(iter(await self._jobs(sa.select(imports).where(mine))), None)

    async def touch(self, node: str) -> None:
        """Record that the node is alive."""
        mine = COLUMNS.status.in_(UNENDED) & (COLUMNS.node == node)
        await self._execute(imports.update().where(mine).values(seen_at=now()))

    async def unended(self, node: str) -> list[str]:
        """The ids of the node's queued and running jobs."""
        query = sa.select(COLUMNS.id).where(COLUMNS.status.in_(UNENDED), COLUMNS.node == node)
        return list((await self._execute(query)).scalars())

    async def lost(self, since: datetime) -> list[str]:
        """The ids of queued and running jobs of nodes that were not alive since."""
        query = sa.select(COLUMNS.id).where(COLUMNS.status.in_(UNENDED), COLUMNS.seen_at < since)
        return list((await self._execute(query)).scalars())

    async def delete_ended(self, before: datetime) -> None:
        """Delete the jobs that ended before that time."""
        await self._execute(imports.delete().where(COLUMNS.finished_at < before))

    async def _execute(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        return await self._database.run(lambda c: c.execute(statement))

    async def _jobs(self, query: sa.Select[Any]) -> list[Job]:
        return [job_of(row) for row in (await self._execute(query)).mappings()]

    async def _change(self, id: str, statuses: Sequence[Status], **values: Any) -> Claim | None:
        change = (
            imports.update()
            .where(COLUMNS.id == id, COLUMNS.status.in_(statuses))
            .values(revision=COLUMNS.revision + 1, seen_at=now(), **values)
            .returning(imports)
        )
        row = (await self._execute(change)).mappings().first()
        if row is None:
            return None
        after = Position(row["after_lines"], row["after_offset"], row["after_items"])
        counts = WriteCounts(row["created"], row["replaced"], row["unchanged"])
        checkpoint = Checkpoint(0, row["written"], row["failed"], after, counts)
        return Claim(job_of(row), checkpoint, row["to_cancel"])
