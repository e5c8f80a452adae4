"""Imports as their users send them: over sockets, to a service of its own."""

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

PATIENCE_S = 60.0
NDJSON = {"Content-Type": "application/x-ndjson"}
MEGABYTE = 1_000_000


def lines(count: int, size: int = 40) -> Iterator[bytes]:
    text = "word " * (size // 5)
    for n in range(count):
        yield json.dumps({"_id": f"r{n:06}", "chunk_text": f"{n} {text}"}).encode() + b"\n"


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.02)


def memory_mib(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def uploads(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.glob("imports/*") if path.suffix in {".part", ".spool"}]


def ended(url: str, id: str) -> dict[str, Any]:
    job: dict[str, Any] = {}

    def look() -> bool:
        job.update(httpx.get(f"{url}/api/imports/{id}").json())
        return job["status"] not in {"queued", "running"}

    until(look)
    return job


@contextlib.contextmanager
def uploading(url: str, length: int) -> Iterator[http.client.HTTPConnection]:
    """An upload of so many bytes that has begun."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    connection.putrequest("POST", "/api/imports")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    with contextlib.closing(connection):
        yield connection


def test_a_large_upload_is_never_in_memory(tmp_path: Path) -> None:
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
        assert ended(url, job["id"])["written"] == 200
        until(lambda: uploads(tmp_path) == [])


def test_who_hangs_up_while_sending_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (_, url):
        with uploading(url, 10 * MEGABYTE) as connection:
            connection.send(b" " * 2 * MEGABYTE)
            until(lambda: len(uploads(tmp_path)) == 1)
        until(lambda: uploads(tmp_path) == [])
        assert httpx.get(f"{url}/api/imports").json()["imports"] == []


def test_an_import_goes_on_after_a_kill_and_what_was_half_sent_is_gone(tmp_path: Path) -> None:
    count = 3_000
    content = b"".join(lines(count, 1_000))
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, url):
        id = httpx.post(f"{url}/api/imports", content=content, headers=NDJSON).json()["id"]
        with uploading(url, 10 * MEGABYTE) as connection:
            connection.send(b" " * 2 * MEGABYTE)
            until(lambda: len(uploads(tmp_path)) == 2)
            until(lambda: httpx.get(f"{url}/api/imports/{id}").json()["written"] > 0)
            process.signal_group(signal.SIGKILL)
            process.wait()
    assert len(uploads(tmp_path)) == 2
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (_, url):
        job = ended(url, id)
        assert (job["status"], job["written"], job["failed"]) == ("succeeded", count, 0)
        until(lambda: uploads(tmp_path) == [])
        assert httpx.get(f"{url}/api/stats").json()["indexes"]["dense"]["records"] == count


def test_a_stop_in_the_middle_is_quick_and_the_job_goes_on(
    tmp_path: Path, upstream: Upstream
) -> None:
    content = b"".join(lines(2_000))
    settings = {"DATA_DIR": tmp_path, "HOST": "127.0.0.1"}
    with serving(upstream, **settings) as (process, url):
        id = httpx.post(f"{url}/api/imports", content=content, headers=NDJSON).json()["id"]
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as listener:
            listener.sendall(f"GET /api/imports/{id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert b"event: progress" in received(listener, b"event: progress")
            process.signal_group(signal.SIGTERM)
            assert received(listener, b"0\r\n\r\n").endswith(b"0\r\n\r\n"), "it is properly ended"
        assert process.wait() == 0
    with serving(upstream, **settings) as (_, url):
        job = ended(url, id)
        assert (job["status"], job["written"], job["failed"]) == ("succeeded", 2_000, 0)


def received(connection: socket.socket, end: bytes) -> bytes:
    """What comes, up to `end` or to the end of all."""
    connection.settimeout(PATIENCE_S)
    got = b""
    while end not in got and (more := connection.recv(65_536)):
        got += more
    return got


@pytest.mark.parametrize("workers", [2])
def test_several_processes_share_the_work_and_what_is_known_of_it(
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
        jobs = [ended(url, id) for id in ids]
    assert {(job["status"], job["written"]) for job in jobs} == {("succeeded", 300)}
    assert uploads(tmp_path) == []
