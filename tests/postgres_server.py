"""A PostgreSQL of the tests' own: a process on a free port, with data in a folder that goes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from tests.services import installed

PASSWORD = "pa55-of-the-database"
WHY = "imports that are kept in PostgreSQL can't be tried"
QUICK = {"fsync": "off", "full_page_writes": "off"}  # what it said is kept if it is killed


class PostgresServer:
    """It can be killed, and started again on the same port, with what was in it."""

    def __init__(self, folder: Path) -> None:
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self._initdb = installed("initdb", WHY, *places)
        self._postgres = installed("postgres", WHY, *places)
        self._folder = folder
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # which it refuses to run as
            names = {each.pw_name: each.pw_uid for each in pwd.getpwall()}
            uid = names.get("postgres", names["nobody"])
            os.chown(folder, uid, -1)
            self._account = {"user": uid, "extra_groups": []}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[str] | None = None
        self._databases = 0

    def url(self, database: str = "postgres", options: str = "") -> str:
        return f"postgres://cascade:{PASSWORD}@127.0.0.1:{self.port}/{database}{options}"

    async def new_database(self) -> str:
        """The URL of a database with nothing in it."""
        self._databases += 1
        name = f"jobs_{self._databases}"
        connection = await asyncpg.connect(self.url())
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    def make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        arguments = ["-D", "data", "-U", "cascade", "-A", "scram-sha-256", "-N", "-E", "UTF8"]
        subprocess.run(
            [self._initdb, *arguments, "--locale=C", "--pwfile=password"],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **self._account,
        )

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {**QUICK, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        self._process = subprocess.Popen(
            [self._postgres, "-D", "data", "-p", str(self.port), *options],
            cwd=self._folder,
            stderr=subprocess.PIPE,
            text=True,
            **self._account,
        )
        assert self._process.stderr is not None
        assert any("ready to accept connections" in line for line in self._process.stderr)

    def kill(self) -> None:
        """At once, as far as those can tell who are connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.communicate(timeout=60)
            self._process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="cascade-postgres-"))
    try:
        server = PostgresServer(folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
