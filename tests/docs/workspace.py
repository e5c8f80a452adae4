"""A folder in which the examples of one page run as its reader would run them.

The commands `make`, `cascade`, `python` and `curl` are on the PATH as small scripts, so that the
examples themselves stay as they are printed. A server is started on a free port, and the ports in
later examples are replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.docs.markdown import ROOT
from tests.programs import find_program
from tests.upstream import API_KEY, Upstream

BLOCK_LIMIT_S = 60
START_LIMIT_S = 60
BASH = "/bin/bash"
DEFAULT_SERVER = "make serve"
DEFAULT_PORT = 8000
SERVER = re.compile(
    r"^(?:\w+=\S* )*"
    r"(?:make serve|(?:\S*/)?cascade serve|uvicorn .*|(?:\S*/)?python -m service serve)$"
)
LISTENING = re.compile(r"(?:serving|running) on http://[\d.]+:(\d+)")
PORT = re.compile(r"(?P<before>--port |\bPORT=)(?P<port>\d+)")
ADDRESS = re.compile(r"(?P<host>127\.0\.0\.1|localhost):(?P<port>\d+)")

MAKE = 'exec "{make}" --no-print-directory -C "{root}" VENV="{venv}" "$@"'
PYTHON = 'exec "{python}" "$@"'
CASCADE = 'exec "{python}" -m service "$@"'
UVICORN = 'exec "{python}" -m uvicorn "$@"'
CURL = """\
case " $* " in
*" -f "*|*" --fail"*) exec "{curl}" -sS "$@" ;;
*) exec "{curl}" -sS --fail-with-body "$@" ;;
esac"""


class ExampleFailed(AssertionError):
    """An example did not do what the page says."""


class Server:
    """A server that an example has started, in a process group of its own."""

    def __init__(self, script: str, folder: Path, environment: dict[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            [BASH, "-ec", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            self.port = self._wait_until_listening()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._log.close()

    def _wait_until_listening(self) -> int:
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            log = os.pread(self._log.fileno(), 10_000_000, 0).decode()
            if found := LISTENING.search(log):
                return int(found[1])
            if self._process.poll() is not None:
                raise ExampleFailed(f"the server ended with {self._process.returncode}:\n{log}")
            time.sleep(0.02)
        raise ExampleFailed(f"the server does not listen:\n{log}")


class Workspace:
    """The reader's folder, shell variables and running servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._servers: dict[int, Server] = {}  # by the port that the page names
        self._state = folder.parent / f"{folder.name}.env"
        self._write_commands(folder / ".venv")
        (folder / "examples").symlink_to(ROOT / "examples")
        inherited = {name: value for name, value in os.environ.items() if name.startswith("COV")}
        self._environment = inherited | {
            "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(folder / "var"),
            "PORT": "0",
        }

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_servers()
        self._stack.close()

    def write(self, name: str, text: str) -> Path:
        """Write a file that the page shows."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def serve(self, code: str, *, aside: bool = False) -> None:
        """Start a server in place of the one that runs; with `aside` only try it beside that."""
        named = PORT.search(code)
        port = int(named["port"]) if named else DEFAULT_PORT
        if not aside:
            self._stop_servers()  # they would share the data directory
        script = PORT.sub(r"\g<before>0", self._with_upstream(code))
        folder = self.folder
        environment = dict(self._environment)
        if aside:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            environment["DATA_DIR"] = str(folder)
        server = Server(self._with_state(script), folder, environment)
        if aside:
            server.stop()
        else:
            self._servers[port] = server

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run shell commands to their end; variables that they export stay."""
        script = self._with_state(self.with_ports(code)) + f'\nexport -p > "{self._state}"\n'
        return subprocess.run(
            [BASH, "-ec", script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_LIMIT_S,
            check=False,
        )

    def _stop_servers(self) -> None:
        while self._servers:
            self._servers.popitem()[1].stop()

    def with_ports(self, code: str) -> str:
        """The code with the ports on which the servers of the page really listen."""
        return ADDRESS.sub(lambda match: f"{match['host']}:{self._port(match['port'])}", code)

    def _port(self, named: str) -> int:
        port = int(named)
        if port == DEFAULT_PORT and port not in self._servers:
            self.serve(DEFAULT_SERVER)
        return self._servers[port].port if port in self._servers else port

    def _with_state(self, code: str) -> str:
        return f'[ -f "{self._state}" ] && . "{self._state}"\n{code}'

    def _with_upstream(self, code: str) -> str:
        """The code with the addresses and the key of the fake upstream for those of Pinecone."""
        if "PINECONE_API_KEY=" not in code:
            return code
        upstream = self._stack.enter_context(Upstream())
        code = code.replace("PINECONE_API_KEY=...", f"PINECONE_API_KEY={API_KEY}")
        for kind in ("dense", "sparse"):
            host = rf"https://[\w.-]*{kind}[\w.-]*\.pinecone\.io"
            code = re.sub(host, upstream.host(kind), code)
        return f"export PINECONE_CONTROLLER_HOST={upstream.host('control')}\n{code}"

    def _write_commands(self, venv: Path) -> None:
        curl = find_program("curl", "the examples of the documentation can't be run")
        make = find_program("make", "the examples of the documentation can't be run")
        scripts = {
            "make": MAKE.format(make=make, root=ROOT, venv=venv),
            "curl": CURL.format(curl=curl),
            "python": PYTHON.format(python=sys.executable),
            "python3": PYTHON.format(python=sys.executable),
            "cascade": CASCADE.format(python=sys.executable),
            "uvicorn": UVICORN.format(python=sys.executable),
        }
        (venv / "bin").mkdir(parents=True)
        for name, script in scripts.items():
            path = venv / "bin" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        for stamp in (".made", ".serve", ".dev"):  # what `make` would have installed is there
            (venv / stamp).touch()


def is_server(code: str) -> bool:
    """Whether the last command of an example runs until it is stopped."""
    return SERVER.match(code.strip().splitlines()[-1]) is not None
