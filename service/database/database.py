"""SQLite in a file, or PostgreSQL, with the tables of a `Schema`.

Every failure to reach it becomes the schema's error, without addresses and passwords.

SQLite has a rollback journal, because several processes may write: with a WAL, versions before
3.51.3 can damage the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
from service.errors import Unavailable
from service.private_files import make_private_file

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
Transaction = Callable[[AsyncConnection], Awaitable[ResultT]]

CONNECT_S = 5.0
CALL_S = 10.0
BUSY_S = 8.0  # how long a call to SQLite waits for another process
RETRY_AFTER_S = 5.0
CONNECTIONS = 4
ALEMBIC = Path(__file__).parent / "alembic"
MIGRATION_LOCK = 7_236_071_005  # the key of an advisory lock in PostgreSQL

# Parameters of libpq that asyncpg does not know: it would send them as settings of the server.
LIBPQ_ONLY = {
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
PROGRAMMING_ERRORS = (ProgrammingError, IntegrityError)  # not failures of the database
DATABASE_ERRORS = (
    SQLAlchemyError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)

_ALEMBIC_LOCK = threading.Lock()  # Alembic's context is global to the process
ALEMBIC_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables that are migrated together.

    `content` names what they hold, for errors and the log. `error` is raised while the database
    can't be used. Each schema of a database has a version table of its own.
    """

    content: str
    migrations: Path
    version_table: str
    error: type[Unavailable]


class Database:
    """PostgreSQL at `url`, or SQLite at `path` if there is no URL."""

    def __init__(self, url: str | None, path: Path, schema: Schema) -> None:
        self._schema = schema
        self._file = Path(path.parent.name, path.name)
        self._engine = _postgres(url) if url else _sqlite(path)
        self._calls = DetachedTasks()

    async def migrate(self) -> None:
        """Migrate the tables to the newest version, in one process at a time."""
        await self.run(self._migrate)

    async def run(self, work: Transaction[ResultT]) -> ResultT:
        """Run `work` in a transaction, to its end even if the caller is cancelled."""
        return await self._calls.run(self._transaction(work))

    async def close(self) -> None:
        await self._calls.join()  # each has a time limit
        await self._engine.dispose()

    async def _transaction(self, work: Transaction[ResultT]) -> ResultT:
        try:
            async with asyncio.timeout(CALL_S), self._engine.begin() as connection:
                return await work(connection)
        except PROGRAMMING_ERRORS:
            raise
        except DATABASE_ERRORS as exc:
            logger.warning("the database of the %s: %s", self._schema.content, _error_line(exc))
            if _is_damaged(exc):
                raise self._schema.error(
                    f"The database of the {self._schema.content} is damaged: stop the service, and "
                    f"move {self._file} in DATA_DIR away or put a copy back",
                    retry_after=RETRY_AFTER_S,
                ) from exc
            raise self._schema.error(
                f"The database of the {self._schema.content} can't be reached just now; try again "
                "shortly",
                retry_after=RETRY_AFTER_S,
            ) from exc

    async def _migrate(self, connection: AsyncConnection) -> None:
        if connection.dialect.name == "sqlite":
            await connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins none for DDL
        else:
            await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        while not _ALEMBIC_LOCK.acquire(blocking=False):  # noqa: ASYNC110 - other event loops use it, too
            await asyncio.sleep(ALEMBIC_POLL_S)
        try:
            await connection.run_sync(_upgrade, self._schema)
        finally:
            _ALEMBIC_LOCK.release()


def _error_line(exc: BaseException) -> str:
    """The error on one line, without the statement and its parameters."""
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig else exc
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:300]


def _is_damaged(exc: BaseException) -> bool:
    """Whether SQLite says that its file is not a database, or not a sound one."""
    name = getattr(getattr(exc, "orig", None), "sqlite_errorname", "")
    return name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def _upgrade(connection: sa.Connection, schema: Schema) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(ALEMBIC).replace("%", "%%"))
    config.set_main_option("version_locations", str(schema.migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = schema.version_table
    alembic.command.upgrade(config, "head")


def _sqlite(path: Path) -> AsyncEngine:
    with contextlib.suppress(OSError):  # which the first call reports
        make_private_file(path)
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
    """Without prepared statements, which a pooler in transaction mode does not support."""
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
    """The URL without the parameters that asyncpg does not know."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in LIBPQ_ONLY]
    return urlunsplit(parts._replace(query=urlencode(options)))
