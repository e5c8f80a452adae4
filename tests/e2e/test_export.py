"""Exports of a process of its own: whatever breaks one off, its client can tell."""

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


class Reader:
    """A client that sees the bytes of the wire."""

    def __init__(self, address: str, more: str = "") -> None:
        url = urlsplit(address)
        self._wire = socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60)
        self._wire.sendall(f"GET {PATH} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
        self.got = b""

    def until(self, enough: int) -> None:
        while len(self.got) < enough and (data := self._wire.recv(65536)):
            self.got += data

    def to_the_end(self) -> bytes:
        """All that comes until the other side closes."""
        with self._wire:
            while data := self._wire.recv(65536):
                self.got += data
        return self.got

    def hang_up(self) -> None:
        self._wire.close()


def broken_off(raw: bytes) -> bool:
    """An answer that began well and was never ended."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"transfer-encoding: chunked" in head.lower()
    return bool(body) and not body.endswith(b"0\r\n\r\n")


def of_exports(log: str) -> list[str]:
    return [line for line in log.splitlines() if "export aborted" in line]


def curl(address: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "--silent", "--noproxy", "*", "--max-time", "20", address + PATH]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


@pytest.fixture
def failing(upstream: Upstream) -> Iterator[tuple[Process, str, Callable[[], None]]]:
    """A service whose index has many records, of which the later ones can't be read."""
    fill(upstream, 1_000)

    def again() -> None:
        upstream.behave(After(5, Status(400)), FETCH)

    again()
    with serving(upstream) as (process, address):
        yield process, address, again


def test_an_upstream_that_fails_in_the_midst_leaves_the_response_without_an_end(
    failing: tuple[Process, str, Callable[[], None]],
) -> None:
    process, address, again = failing
    for more in ("", "Accept-Encoding: gzip\r\n"):
        raw = Reader(address, more).to_the_end()
        assert broken_off(raw)
        again()
    assert len(of_exports(process.log())) == 2
    assert "Traceback" not in process.log()
    assert "upstream_refused" in of_exports(process.log())[0]
    assert curl(address).returncode == 18  # a part of it only
    again()
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", address + PATH) as answer,
    ):
        for _ in answer.iter_bytes():
            pass
    assert httpx.get(address + "/healthz").status_code == 200


def test_to_http_1_0_where_a_body_ends_with_its_connection_the_connection_is_reset(
    failing: tuple[Process, str, Callable[[], None]], tmp_path: Path
) -> None:
    """Proxies speak it: nginx does, unless it is told otherwise."""
    process, address, again = failing
    url = urlsplit(address)
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60) as wire:
        wire.sendall(f"GET {PATH} HTTP/1.0\r\nHost: h\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: wire.recv(65536), b""))
    assert "Traceback" not in process.log()
    again()
    with nginx(address, tmp_path, speaking="1.0") as in_front:
        assert broken_off(Reader(in_front).to_the_end())


def test_one_that_stays_away_is_given_up(upstream: Upstream) -> None:
    fill(upstream, 1_000)
    upstream.behave(After(5, Hang()), FETCH)
    with serving(upstream, RECORDS_TIMEOUT_MS=50) as (process, address):
        assert broken_off(Reader(address).to_the_end())
        assert len(of_exports(process.log())) == 1


def test_a_stop_waits_for_an_export_and_cuts_it_off_when_its_time_is_up(
    upstream: Upstream,
) -> None:
    fill(upstream, 1_000)
    upstream.behave(After(5, Hang()), FETCH)
    with serving(upstream, DRAIN_TIMEOUT_S=0.5) as (process, address):
        reader = Reader(address)
        reader.until(100_000)
        process.popen.send_signal(signal.SIGTERM)
        assert broken_off(reader.to_the_end())
        assert process.wait() == 0
        assert "Traceback" not in process.log()
        assert process.log().count("did not end") == 1


def test_an_engine_that_fails_in_the_midst_leaves_the_response_without_an_end(
    tmp_path: Path,
) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, address):
        for start in range(0, 600, 100):
            records = [
                {"_id": f"r{n:05}", "chunk_text": f"text {n}", "more": "x" * 30_000}
                for n in range(start, start + 100)
            ]
            assert httpx.post(f"{address}/api/records", json=records, timeout=60).status_code == 200
        reader = Reader(address)
        reader.until(100_000)
        (database,) = tmp_path.rglob("records.db")
        with database.open("r+b") as file:
            file.seek(0)
            file.write(b"\xff" * database.stat().st_size)
        assert broken_off(reader.to_the_end())
        assert len(of_exports(process.log())) == 1


def test_who_is_told_nothing_of_a_length_still_sees_the_end(upstream: Upstream) -> None:
    fill(upstream, 300)
    with serving(upstream) as (_, address):
        raw = Reader(address, "Connection: close\r\n").to_the_end()
        assert raw.endswith(b"\r\n0\r\n\r\n")
        sizes = [int(size, 16) for size in re.findall(rb"\r\n([0-9a-f]+)\r\n(?=[{\"])", raw)]
        assert sizes
        assert max(sizes) <= 65_536
        done = curl(address)
        assert done.returncode == 0
        assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == list(range(300))


def test_a_client_that_hangs_up_ends_the_reading(upstream: Upstream) -> None:
    fill(upstream, 5_000)
    with serving(upstream) as (process, address):
        descriptors = Path(f"/proc/{process.pid}/fd")
        httpx.get(address + PATH + "?fields=n")
        before = len(list(descriptors.iterdir()))
        upstream.behave(After(10, Hang()), FETCH)
        reader = Reader(address)
        reader.until(50_000)
        assert upstream.wait_for(lambda: len(fetches(upstream)) >= 61)
        reader.hang_up()
        assert upstream.wait_for(lambda: fetches(upstream)[-1].abandoned)
        count = len(fetches(upstream))
        assert httpx.get(address + "/healthz").status_code == 200
        assert len(fetches(upstream)) == count
        assert len(list(descriptors.iterdir())) <= before + 1
        assert "ERROR" not in process.log()


def fetches(upstream: Upstream) -> list[Any]:
    return [call for call in upstream.calls if call.path == "/vectors/fetch"]


def test_a_packed_one_is_whole(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (_, address):
        headers = {"Accept-Encoding": "gzip"}
        with httpx.stream("GET", f"{address}{PATH}?format=csv", headers=headers) as answer:
            raw = b"".join(answer.iter_raw())
        plain = httpx.get(f"{address}{PATH}?format=csv", headers={"Accept-Encoding": "identity"})
        assert gzip.decompress(raw) == plain.content
        assert len(raw) < len(plain.content) / 2
