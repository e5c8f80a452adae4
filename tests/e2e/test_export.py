"""Tests for exports over real sockets: a client notices an incomplete export."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.process import Process, serving, serving_offline
from tests.e2e.test_nginx import nginx
from tests.upstream import After, Hang, Status, Upstream

PATH = "/api/export"
FETCH, LIST = "dense/vectors/fetch", "dense/vectors/list"
LARGE = "words that can be packed " * 40


def fill(upstream: Upstream, count: int) -> None:
    stored = upstream.records.of("dense")
    for n in range(count):
        stored[f"r{n:05}"] = {"chunk_text": LARGE, "n": n}


class RawReader:
    """A client that reads the raw bytes of a response."""

    def __init__(self, address: str, more: str = "") -> None:
        url = urlsplit(address)
        self._wire = socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60)
        self._wire.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        self.got = b""

    def until(self, enough: int) -> None:
        while len(self.got) < enough and (data := self._wire.recv(65536)):
            self.got += data

    def read_to_end(self) -> bytes:
        """Read until the service closes the connection."""
        with self._wire:
            while data := self._wire.recv(65536):
                self.got += data
        return self.got

    def disconnect(self) -> None:
        self._wire.close()


def is_truncated(raw: bytes) -> bool:
    """Whether a chunked response has started, but has no last chunk."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"transfer-encoding: chunked" in head.lower()
    return bool(body) and not body.endswith(b"0\r\n\r\n")


def export_errors(log: str) -> list[str]:
    return [line for line in log.splitlines() if "export aborted" in line]


def curl(address: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "--silent", "--noproxy", "*", "--max-time", "20", address + PATH]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


@pytest.fixture
def failing_service(upstream: Upstream) -> Iterator[tuple[Process, str, Callable[[], None]]]:
    """A service whose upstream fails after the first reads."""
    fill(upstream, 1_000)

    def fail_again() -> None:
        upstream.behave(After(5, Status(400)), FETCH)

    fail_again()
    with serving(upstream) as (process, address):
        yield process, address, fail_again


def test_upstream_failure_truncates_export(
    failing_service: tuple[Process, str, Callable[[], None]],
) -> None:
    process, address, fail_again = failing_service
    for more in ("", "Accept-Encoding: gzip\r\n"):
        raw = RawReader(address, more).read_to_end()
        assert is_truncated(raw)
        fail_again()
    assert len(export_errors(process.log())) == 2
    assert "Traceback" not in process.log()
    assert "upstream_refused" in export_errors(process.log())[0]
    assert curl(address).returncode == 18  # partial file
    fail_again()
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", address + PATH) as answer,
    ):
        for _ in answer.iter_bytes():
            pass
    assert httpx.get(address + "/healthz").status_code == 200


def test_upstream_failure_resets_http_1_0_export(
    failing_service: tuple[Process, str, Callable[[], None]], tmp_path: Path
) -> None:
    """nginx speaks HTTP/1.0 to its upstreams by default."""
    process, address, fail_again = failing_service
    url = urlsplit(address)
    with socket.create_connection(
        (str(url.hostname), int(url.port or 0)), timeout=60
    ) as connection:
        connection.sendall(f"GET {PATH} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: connection.recv(65536), b""))
    assert "Traceback" not in process.log()
    fail_again()
    with nginx(address, tmp_path, http_version="1.0") as proxy_address:
        assert is_truncated(RawReader(proxy_address).read_to_end())


def test_hanging_upstream_truncates_export(upstream: Upstream) -> None:
    fill(upstream, 1_000)
    upstream.behave(After(5, Hang()), FETCH)
    with serving(upstream, RECORDS_TIMEOUT_MS=50) as (process, address):
        assert is_truncated(RawReader(address).read_to_end())
        assert len(export_errors(process.log())) == 1


def test_shutdown_truncates_export_after_drain_timeout(
    upstream: Upstream,
) -> None:
    fill(upstream, 1_000)
    upstream.behave(After(5, Hang()), FETCH)
    with serving(upstream, DRAIN_TIMEOUT_S=0.5) as (process, address):
        reader = RawReader(address)
        reader.until(100_000)
        process.popen.send_signal(signal.SIGTERM)
        assert is_truncated(reader.read_to_end())
        assert process.wait() == 0
        assert "Traceback" not in process.log()
        assert process.log().count("did not finish in time") == 1


def test_embedded_failure_truncates_export(
    tmp_path: Path,
) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, address):
        for start in range(0, 600, 100):
            records = [
                {"_id": f"r{n:05}", "chunk_text": f"text {n}", "more": "x" * 30_000}
                for n in range(start, start + 100)
            ]
            assert httpx.post(f"{address}/api/records", json=records, timeout=60).status_code == 200
        reader = RawReader(address)
        reader.until(100_000)
        (database,) = tmp_path.rglob("records.db")
        with database.open("r+b") as file:
            file.seek(0)
            file.write(b"\xff" * database.stat().st_size)
        assert is_truncated(reader.read_to_end())
        assert len(export_errors(process.log())) == 1


def test_chunked_export_ends_properly(upstream: Upstream) -> None:
    fill(upstream, 300)
    with serving(upstream) as (_, address):
        raw = RawReader(address, "Connection: close\r\n").read_to_end()
        assert raw.endswith(b"\r\n0\r\n\r\n")
        sizes = [int(size, 16) for size in re.findall(rb"\r\n([0-9a-f]+)\r\n(?=[{\"])", raw)]
        assert sizes
        assert max(sizes) <= 65_536
        done = curl(address)
        assert done.returncode == 0
        assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == list(range(300))


def test_export_disconnect_stops_upstream_reads(upstream: Upstream) -> None:
    fill(upstream, 5_000)
    with serving(upstream) as (process, address):
        descriptors = Path(f"/proc/{process.pid}/fd")
        httpx.get(address + PATH + "?fields=n")
        before = len(list(descriptors.iterdir()))
        answered = len(fetches(upstream)) + 10  # hedged requests of the first export included
        upstream.behave(After(10, Hang()), FETCH)
        reader = RawReader(address)
        reader.until(50_000)
        assert upstream.wait_for(lambda: len(fetches(upstream)) > answered)
        reader.disconnect()
        assert upstream.wait_for(lambda: fetches(upstream)[-1].abandoned)
        count = len(fetches(upstream))
        assert httpx.get(address + "/healthz").status_code == 200
        assert len(fetches(upstream)) == count
        assert len(list(descriptors.iterdir())) <= before + 1
        assert "ERROR" not in process.log()


def fetches(upstream: Upstream) -> list[Any]:
    return [call for call in upstream.calls if call.path == "/vectors/fetch"]


def test_gzip_export_equals_plain_export(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (_, address):
        headers = {"Accept-Encoding": "gzip"}
        with httpx.stream("GET", f"{address}{PATH}?format=csv", headers=headers) as answer:
            raw = b"".join(answer.iter_raw())
        plain = httpx.get(f"{address}{PATH}?format=csv", headers={"Accept-Encoding": "identity"})
        assert gzip.decompress(raw) == plain.content
        assert len(raw) < len(plain.content) / 2
