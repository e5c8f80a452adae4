"""`service.asgi:app` under other servers: uvicorn, and Hypercorn as a command."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.asgi import LazyApp
from tests.e2e.command import environment
from tests.e2e.process import ROOT

RUNNING = re.compile(r"[Rr]unning on (http://[0-9.:]+)")
COMMANDS = {
    "uvicorn": ["uvicorn", "service.asgi:app", "--port", "0"],
    "hypercorn": ["hypercorn", "service.asgi:app", "--bind", "127.0.0.1:0"],
    "hypercorn -w 0": ["hypercorn", "service.asgi:app", "-w", "0", "--bind", "127.0.0.1:0"],
}

each_server = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


class Server:
    """A server in a process group of its own, its log in a file."""

    def __init__(self, command: list[str], folder: Path, variables: dict[str, str]) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=environment(PYTHONPATH=ROOT, LOG_FORMAT="text", **variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text()

    def wait_until_serving(self) -> str:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if found := RUNNING.search(self.log()):
                return found[1]
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(self.log())


@contextlib.contextmanager
def started(command: list[str], folder: Path, **variables: str) -> Iterator[Server]:
    server = Server(command, folder, variables)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(60)


@each_server
def test_asgi_app_serves_and_stops_under_another_server(command: list[str], tmp_path: Path) -> None:
    with started(command, tmp_path, LOAD_SAMPLES="true", PINECONE_TOPK="3") as server:
        address = server.wait_until_serving()
        found = httpx.get(f"{address}/api/semantic-search", params={"text_query": "bread"})
        missing = httpx.get(f"{address}/nowhere")
        server.process.terminate()
        assert server.process.wait(60) in {0, -signal.SIGTERM}  # uvicorn raises it again
        log = server.log()
    assert len(found.json()["results"]) == 10
    assert missing.json()["code"] == "not_found"
    for sentence in (
        f"the embedded engine in {tmp_path}/var with 360 records",
        "PINECONE_TOPK is not a setting, and is ignored; did you mean PINECONE_TOP_K?",
        "There are no API keys: anyone who can connect to this server can search and export every",
        "GET /nowhere 404 not_found",
    ):
        assert log.count(sentence) == 1, log
    assert log.lower().count("running on http") == 1
    assert "Traceback" not in log


@each_server
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CACHE_TTL", "-1", "CACHE_TTL: input should be greater than or equal to 0"),
        ("DATA_DIR", "/dev/null/x", "DATA_DIR: /dev/null/x can't be used: Not a directory"),
    ],
)
def test_asgi_app_prints_one_line_for_a_broken_setting(
    command: list[str], tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    with started(command, tmp_path, **{name: value}) as server:
        server.process.wait(60)
        log = server.log()
    assert log.count(sentence) == 1, log
    assert "Traceback" not in log
    assert "retrieved" not in log


def test_asgi_app_import_reads_no_settings_and_opens_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", "from service.asgi import app"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=ROOT, PORT="not a number"),
        check=True,
    )
    assert list(tmp_path.iterdir()) == []


async def test_asgi_app_without_a_lifespan_says_what_to_use() -> None:
    async def unused() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match=r"use create_app\(\) and running\(\)"):
        await LazyApp()({"type": "http"}, unused, unused)  # type: ignore[arg-type]
