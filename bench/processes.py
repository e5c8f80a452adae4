"""Helper processes on loopback ports: start, wait until they listen, measure, stop.

Each is a Python module of this repository. It gets only the environment and the directory that the
caller gives it: no `.env`, no proxy, no settings of the shell. CPU and memory are read from /proc,
so Linux only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH")
LISTEN_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A benchmark cannot run; the message is printed."""


class Process:
    """One running process."""

    def __init__(
        self, name: str, port: int, popen: subprocess.Popen[bytes], stderr: IO[bytes]
    ) -> None:
        self.name = name
        self.port = port
        self._popen = popen
        self._stderr = stderr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """User and system time since the start, in clock ticks of 10 ms."""
        stat = Path(f"/proc/{self._popen.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()  # the process name may contain anything
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_mib(self, kind: str = "VmRSS") -> float:
        """Memory in MiB; `kind` is a key of /proc/PID/status."""
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        return int(status.partition(f"{kind}:")[2].split()[0]) / 1024

    def failed(self, what: str) -> Failed:
        """An error that names this process, with its exit status and last line of output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1.0)
        ended = self._popen.poll()
        status = "" if ended is None else f" and ended with status {ended}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return Failed(f"{self.name} {what}{status}" + (f": {lines[-1]}" if lines else ""))

    def wait_until_listening(self) -> None:
        """Return when a connection is accepted; raise `Failed` after a timeout."""
        deadline = time.monotonic() + LISTEN_TIMEOUT_S
        while time.monotonic() < deadline and self._popen.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            time.sleep(0.05)
        raise self.failed("did not listen")

    def kill(self) -> None:
        """Send SIGKILL."""
        self._popen.kill()

    def stop(self) -> None:
        """Send SIGTERM, wait, and send SIGKILL if it does not exit."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings, and the variables that Python needs."""
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, **settings}


@contextlib.contextmanager
def running(
    name: str,
    port: int,
    module: Sequence[str],
    settings: Mapping[str, str],
    python: str = sys.executable,
) -> Iterator[Process]:
    """Run `python -m module…` during the block, which is entered when it listens on `port`."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as stderr:
        popen = subprocess.Popen(
            [python, "-m", *module],
            env=environment(settings),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        process = Process(name, port, popen, stderr)
        try:
            process.wait_until_listening()
            yield process
        finally:
            process.stop()
