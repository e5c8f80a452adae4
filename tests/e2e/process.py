"""Runs the service in a process group of its own, as a user would."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fork_server import start
from tests.upstream import API_KEY, Upstream

ROOT = Path(__file__).parent.parent.parent
SERVING = re.compile(r"serving on (http://[0-9.:\[\]]+)")


class Process:
    """One `python -m service serve` in a process group of its own, its log in a file."""

    def __init__(self, environment: dict[str, str], options: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        coverage = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
        self.popen = start(
            "service",
            "serve",
            *options,
            env=inherited | coverage | environment,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def log(self) -> str:
        with self._log_from_the_start() as text:
            return text

    @contextlib.contextmanager
    def _log_from_the_start(self) -> Iterator[str]:
        yield os.pread(self._log.fileno(), 10_000_000, 0).decode()

    def wait_until_serving(self, seconds: float = 60) -> str:
        """Return the address that it serves on."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := SERVING.search(self.log()):
                return found[1]
            if self.popen.poll() is not None:
                raise AssertionError(
                    f"the service exited with {self.popen.returncode}: {self.log()}"
                )
            time.sleep(0.02)
        raise AssertionError(f"the service is not serving: {self.log()}")

    def children(self) -> list[int]:
        """The pids of the running worker processes."""
        task = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def signal_group(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        return self.popen.wait(seconds)

    def stop(self) -> None:
        """Kill all processes of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(60)
        self._log.close()


def environment(upstream: Upstream, **overrides: Any) -> dict[str, str]:
    """The environment that a user would export, with a free port."""
    given = {
        "PINECONE_API_KEY": API_KEY,
        "PINECONE_DENSE_INDEX_HOST": upstream.host("dense"),
        "PINECONE_SPARSE_INDEX_HOST": upstream.host("sparse"),
        "PINECONE_CONTROLLER_HOST": upstream.host("control"),
        "PINECONE_LANES": "2",
        "CACHE_TTL": "0",
        "PORT": "0",
    }
    return {name: str(value) for name, value in (given | overrides).items() if value is not None}


@contextlib.contextmanager
def serving(upstream: Upstream, **overrides: Any) -> Iterator[tuple[Process, str]]:
    """Run the service during the block, and yield its process and address."""
    process = Process(environment(upstream, **overrides))
    try:
        yield process, process.wait_until_serving()
    finally:
        process.stop()


@contextlib.contextmanager
def serving_offline(data_dir: Path, **overrides: Any) -> Iterator[tuple[Process, str]]:
    """Run the service on the embedded engine, with the samples."""
    given = {"DATA_DIR": data_dir, "LOAD_SAMPLES": "true", "PORT": "0"} | overrides
    process = Process({name: str(value) for name, value in given.items()})
    try:
        yield process, process.wait_until_serving()
    finally:
        process.stop()
