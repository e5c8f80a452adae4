"""Tests for imports over real sockets, to a service in its own process."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.process import Process, serving, serving_offline
from tests.upstream import Upstream

TIMEOUT_S = 60.0
NDJSON = {"Content-Type": "application/x-ndjson"}
MEGABYTE = 1_000_000


def lines(count: int, size: int = 40) -> Iterator[bytes]:
    text = "word " * (size // 5)
    for n in range(count):
        yield json.dumps({"_id": f"r{n:06}", "chunk_text": f"{n} {text}"}).encode() + b"\n"


def wait_until(holds: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    end = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < end, "the condition does not hold in time"
        time.sleep(0.02)


def memory_mib(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def stored_uploads(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.glob("imports/*") if path.suffix in {".part", ".spool"}]


def wait_until_ended(url: str, id: str) -> dict[str, Any]:
    job: dict[str, Any] = {}

    def look() -> bool:
        job.update(httpx.get(f"{url}/api/imports/{id}").json())
        return job["status"] not in {"queued", "running"}

    wait_until(look)
    return job


@contextlib.contextmanager
def uploading(url: str, length: int) -> Iterator[http.client.HTTPConnection]:
    """Start an upload of `length` bytes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    connection.putrequest("POST", "/api/imports")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    with contextlib.closing(connection):
        yield connection


def test_upload_memory_is_bounded(tmp_path: Path) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, url):
        before = memory_mib(process)
        with uploading(url, 200 * MEGABYTE) as connection:
            record, most = next(lines(1)), 0.0
            for _ in range(200):
                connection.send(record.rjust(MEGABYTE))
                most = max(most, memory_mib(process))
            answer = connection.getresponse()
            job = json.loads(answer.read())
        assert (answer.status, job["bytes"]) == (202, 200 * MEGABYTE)
        assert most - before < 40, f"{before:.0f} MiB before, and then {most:.0f}"
        assert wait_until_ended(url, job["id"])["written"] == 200
        wait_until(lambda: stored_uploads(tmp_path) == [])


def test_upload_disconnect_removes_file(tmp_path: Path) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (_, url):
        with uploading(url, 10 * MEGABYTE) as connection:
            connection.send(b" " * 2 * MEGABYTE)
            wait_until(lambda: len(stored_uploads(tmp_path)) == 1)
        wait_until(lambda: stored_uploads(tmp_path) == [])
        assert httpx.get(f"{url}/api/imports").json()["imports"] == []


def test_import_resumes_after_sigkill_and_partial_upload_is_removed(tmp_path: Path) -> None:
    count = 3_000
    content = b"".join(lines(count, 1_000))
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, url):
        id = httpx.post(f"{url}/api/imports", content=content, headers=NDJSON).json()["id"]
        with uploading(url, 10 * MEGABYTE) as connection:
            connection.send(b" " * 2 * MEGABYTE)
            wait_until(lambda: len(stored_uploads(tmp_path)) == 2)
            wait_until(lambda: httpx.get(f"{url}/api/imports/{id}").json()["written"] > 0)
            process.signal_group(signal.SIGKILL)
            process.wait()
    assert len(stored_uploads(tmp_path)) == 2
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (_, url):
        job = wait_until_ended(url, id)
        assert (job["status"], job["written"], job["failed"]) == ("succeeded", count, 0)
        wait_until(lambda: stored_uploads(tmp_path) == [])
        assert httpx.get(f"{url}/api/stats").json()["indexes"]["dense"]["records"] == count


def test_import_resumes_after_sigterm(tmp_path: Path, upstream: Upstream) -> None:
    content = b"".join(lines(2_000))
    settings = {"DATA_DIR": tmp_path, "HOST": "127.0.0.1"}
    with serving(upstream, **settings) as (process, url):
        id = httpx.post(f"{url}/api/imports", content=content, headers=NDJSON).json()["id"]
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as listener:
            request = f"GET /api/imports/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
            listener.sendall(request.encode())
            assert b"event: progress" in read_until(listener, b"event: progress")
            process.signal_group(signal.SIGTERM)
            assert read_until(listener, b"0\r\n\r\n").endswith(b"0\r\n\r\n"), "it is properly ended"
        assert process.wait() == 0
    with serving(upstream, **settings) as (_, url):
        job = wait_until_ended(url, id)
        assert (job["status"], job["written"], job["failed"]) == ("succeeded", 2_000, 0)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read up to `end`, or to the end of the response."""
    connection.settimeout(TIMEOUT_S)
    got = b""
    while end not in got and (more := connection.recv(65_536)):
        got += more
    return got


@pytest.mark.parametrize("workers", [2])
def test_import_jobs_are_shared_by_worker_processes(
    tmp_path: Path, upstream: Upstream, workers: int
) -> None:
    settings = {"DATA_DIR": tmp_path, "WEB_CONCURRENCY": workers}
    with serving(upstream, **settings) as (_, url):
        ids = [
            httpx.post(f"{url}/api/imports", content=b"".join(lines(300)), headers=NDJSON).json()[
                "id"
            ]
            for _ in range(4)
        ]
        jobs = [wait_until_ended(url, id) for id in ids]
    assert {(job["status"], job["written"]) for job in jobs} == {("succeeded", 300)}
    assert stored_uploads(tmp_path) == []
