"""The database of the imports: SQLite beside the uploads, or PostgreSQL.

Every failure to reach it becomes `JobsUnavailable`, without addresses and passwords.

SQLite has a rollback journal, because several processes may write: with a WAL, versions before
3.51.3 can damage the file.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import alembic.command
import alembic.config
import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.concurrency import DetachedTasks
from service.errors import JobsUnavailable

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")
Work = Callable[[AsyncConnection], Awaitable[AnswerT]]

CONNECT_S = 5.0
CALL_S = 10.0
BUSY_S = 8.0  # how long a call to SQLite waits for another process
AGAIN_S = 5.0
CONNECTIONS = 4
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATING = 7_236_071_005  # of PostgreSQL's advisory locks, the one that is ours

# What libpq knows and asyncpg would take for settings of the server.
NOT_OURS = {
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "pgbouncer",
    "sslcompression",
    "tcp_user_timeout",
}
BUGS = (ProgrammingError, IntegrityError)  # of ours: to be seen as such
TROUBLE = (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


_ALEMBIC = threading.Lock()  # what a migration calls is one for the whole process
ALEMBIC_TAKEN_S = 0.01


class Database:
    """One database; `url` is of a PostgreSQL, without it there is SQLite at `path`."""

    def __init__(self, url: str | None, path: Path) -> None:
        self._engine = _postgres(url) if url else _sqlite(path)
        self._calls = DetachedTasks()

    async def migrate(self) -> None:
        """Bring the table up to date; of several processes at once one does it."""
        await self.run(_migrate)

    async def run(self, work: Work[AnswerT]) -> AnswerT:
        """Do something in a transaction, to its end even if nobody waits for it any more."""
        return await self._calls.run(self._transaction(work))

    async def close(self) -> None:
        await self._calls.join()  # each has a time limit
        await self._engine.dispose()

    async def _transaction(self, work: Work[AnswerT]) -> AnswerT:
        try:
            async with asyncio.timeout(CALL_S), self._engine.begin() as connection:
                return await work(connection)
        except BUGS:
            raise
        except TROUBLE as exc:
            logger.warning("the database of the imports: %s", _words(exc))
            raise JobsUnavailable(
                "The database of the imports can't be reached just now; try again shortly",
                retry_after=AGAIN_S,
            ) from exc


def _words(exc: BaseException) -> str:
    """What went wrong, on one line; statements and what was in them are left out."""
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig else exc
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:300]


async def _migrate(connection: AsyncConnection) -> None:
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins none for DDL
    else:
        await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - by other event loops, too
        await asyncio.sleep(ALEMBIC_TAKEN_S)
    try:
        await connection.run_sync(_upgrade)
    finally:
        _ALEMBIC.release()


def _upgrade(connection: sa.Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def _sqlite(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": BUSY_S},
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CALL_S,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return engine


def _postgres(url: str) -> AsyncEngine:
    """Behind a pooler that hands each transaction another session, no statement stays prepared."""
    return create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "dsn": _dsn(url),
            "timeout": CONNECT_S,
            "command_timeout": CALL_S,
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"cascade_{uuid.uuid4().hex}",
        },
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CALL_S,
        pool_pre_ping=True,
        pool_recycle=600,
    )


def _dsn(url: str) -> str:
    """asyncpg reads the rest of it as libpq does."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in NOT_OURS]
    return urlunsplit(parts._replace(query=urlencode(options)))
