"""A PostgreSQL server of the tests' own, on a free port, with data in a temporary folder."""

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

from tests.programs import find_program

PASSWORD = "pa55-of-the-database"
WHY = "imports that are kept in PostgreSQL can't be tried"
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
}  # only a killed machine loses data


class PostgresServer:
    """Can be killed, and started again on the same port with the same data."""

    def __init__(self, folder: Path) -> None:
        directories = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self._initdb = find_program("initdb", WHY, *directories)
        self._postgres = find_program("postgres", WHY, *directories)
        self._folder = folder
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
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
        """Create an empty database; returns its URL."""
        self._databases += 1
        name = f"jobs_{self._databases}"
        connection = await asyncpg.connect(self.url())
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    def initialize(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        arguments = ["-D", "data", "-U", "cascade", "-A", "scram-sha-256", "-N", "-E", "UTF8"]
        subprocess.run(
            [self._initdb, *arguments, "--locale=C", "--pwfile=password"],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **self._account,
        )

    def start(self) -> None:
        """Returns when it accepts connections."""
        settings = {**FAST, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
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
        """Immediate shutdown: all connections are reset."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.communicate(timeout=60)
            self._process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, killed at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="cascade-postgres-"))
    try:
        server = PostgresServer(folder)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
