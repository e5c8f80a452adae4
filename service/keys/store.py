"""The API keys in the database. Each change is one transaction, and gets a new revision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.database import Database
from service.errors import InvalidRequest
from service.keys.key import ApiKey
from service.keys.table import api_keys, key_changes, keys_of, row_of

COLUMNS = api_keys.c
MAX_KEYS = 10_000
RETENTION = timedelta(days=30)  # of revoked keys


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """All keys, at least as new as the revision."""

    revision: int
    keys: list[ApiKey]


class KeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """The number of changes so far: zero if there has never been a key."""
        return await self._database.run(_revision)

    async def read(self) -> StoredKeys:
        """All keys, newest first."""

        async def work(connection: AsyncConnection) -> tuple[int, Any]:
            revision = await _revision(connection)  # first: a later change is read the next time
            query = sa.select(api_keys).order_by(COLUMNS.created_at.desc(), COLUMNS.id)
            return revision, (await connection.execute(query)).mappings().all()

        revision, rows = await self._database.run(work)
        return StoredKeys(revision, await asyncio.to_thread(keys_of, rows))

    async def get(self, id: str) -> ApiKey | None:
        query = sa.select(api_keys).where(COLUMNS.id == id)
        found = await self._database.run(lambda connection: connection.execute(query))
        return next(iter(keys_of(found.mappings())), None)

    async def add(self, key: ApiKey) -> None:
        """Raises `InvalidRequest` at the limit of keys."""

        async def work(connection: AsyncConnection) -> None:
            await _count_change(connection)
            old = datetime.now(UTC) - RETENTION
            await connection.execute(api_keys.delete().where(COLUMNS.revoked_at < old))
            valid = sa.select(sa.func.count()).where(COLUMNS.revoked_at.is_(None))
            if (await connection.execute(valid)).scalar_one() >= MAX_KEYS:
                raise InvalidRequest(
                    f"There are {MAX_KEYS:,} API keys, which is the limit; revoke some, or sign "
                    "tenant tokens, of which there can be any number"
                )
            await connection.execute(api_keys.insert().values(**row_of(key)))

        await self._database.run(work)

    async def revoke(self, id: str) -> ApiKey | None:
        """Revoke a key; None if there is none. One that is revoked does not change."""
        return await self._change(id, revoked_at=datetime.now(UTC))

    async def rotate(self, id: str, digest: bytes, previous_until: datetime) -> ApiKey | None:
        """Give a key another secret. None if there is none, or it is revoked."""
        return await self._change(
            id,
            previous_digest=COLUMNS.digest,
            previous_until=previous_until,
            digest=digest.hex(),
            rotated_at=datetime.now(UTC),
        )

    async def _change(self, id: str, **values: Any) -> ApiKey | None:
        async def work(connection: AsyncConnection) -> None:
            await _count_change(connection)
            valid = api_keys.update().where(COLUMNS.id == id, COLUMNS.revoked_at.is_(None))
            await connection.execute(valid.values(**values))

        await self._database.run(work)
        return await self.get(id)


async def _revision(connection: AsyncConnection) -> int:
    return int((await connection.execute(sa.select(key_changes.c.revision))).scalar_one())


async def _count_change(connection: AsyncConnection) -> None:
    """The first statement of each change: its lock makes the others wait."""
    await connection.execute(key_changes.update().values(revision=key_changes.c.revision + 1))
