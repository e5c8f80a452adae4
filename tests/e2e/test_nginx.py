"""Behind a real nginx, with the configuration that the documentation gives."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from service.client import AsyncSearchClient
from tests.e2e.load import PATH, load
from tests.e2e.process import ROOT, Process, serving
from tests.programs import find_program
from tests.upstream import Delay, Upstream

KEY = "a-key-of-24-characters-1"
CONFIGURATION = ROOT / "docs" / "deploy" / "nginx.conf"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def nginx(cascade: str, folder: Path, http_version: str = "1.1") -> Iterator[str]:
    """Run nginx in front of the service at address `cascade`, and yield nginx's own address."""
    program = find_program("nginx", "the service can't be tested behind a proxy")
    port = free_port()
    site = (
        CONFIGURATION.read_text()
        .replace("127.0.0.1:8000", urlsplit(cascade).netloc)
        .replace("proxy_http_version 1.1", f"proxy_http_version {http_version}")
        .replace("listen 8080", f"listen 127.0.0.1:{port}")
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{site}}}\n"
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE
    )
    try:
        _wait_until_listening(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return


def access_line(process: Process) -> Any:
    lines = [json.loads(line) for line in process.log().splitlines()]
    return next(line for line in reversed(lines) if line["logger"] == "service.access")


def test_nginx_overrides_forged_client_and_request_id(upstream: Upstream, tmp_path: Path) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Request-Id": "mine"}
    with serving(upstream, TRUSTED_PROXY_HOPS=1) as (process, address):
        with nginx(address, tmp_path) as front:
            answer = httpx.get(front + PATH, headers=forged)
            assert answer.status_code == 200
            assert answer.json()["results"][0]["_id"] == "cat"
            line = access_line(process)
            assert line["client"] == "127.0.0.1"
            assert line["request_id"] == answer.headers["X-Request-Id"] != "mine"


def test_forwarded_header_is_ignored_without_trusted_proxy(upstream: Upstream) -> None:
    with serving(upstream) as (process, address):
        httpx.get(address + PATH, headers={"X-Forwarded-For": "6.6.6.6"})
        assert access_line(process)["client"] == "127.0.0.1"


def test_nginx_passes_errors_and_redirects_unchanged(upstream: Upstream, tmp_path: Path) -> None:
    with serving(upstream, TRUSTED_PROXY_HOPS=1) as (_, address):
        with nginx(address, tmp_path) as front:
            empty = httpx.get(f"{front}/api/semantic-search")
            assert (empty.status_code, empty.json()["code"]) == (422, "empty_query")
            assert httpx.get(f"{front}/").headers["location"] == "/api/docs"
            assert httpx.get(f"{front}/readyz").json()["status"] == "ready"


def test_nginx_passes_no_path_that_is_not_canonical(upstream: Upstream, tmp_path: Path) -> None:
    """nginx merges slashes where it chooses a location, and passes the path on as it came."""
    with serving(upstream, TRUSTED_PROXY_HOPS=1) as (_, address):
        with nginx(address, tmp_path) as front:
            url = urlsplit(front)
            with closing(HTTPConnection(str(url.hostname), url.port, timeout=60)) as connection:
                for target in ("//api/stats", "/%2fapi/stats", f"{front}//api/stats"):
                    connection.request("GET", target)
                    answer = connection.getresponse()
                    assert (answer.status, json.load(answer)["code"]) == (404, "not_found"), target
                connection.request("POST", "//api/imports")
                assert connection.getresponse().read().count(b"not_found") == 1
                connection.request("GET", f"{front}/api/stats")
                assert connection.getresponse().status == 200


async def test_shutdown_behind_nginx_causes_only_502(upstream: Upstream, tmp_path: Path) -> None:
    """Requests that nginx has forwarded are answered; later ones have no upstream."""
    upstream.behave(Delay(0.01), "dense")
    with serving(upstream, TRUSTED_PROXY_HOPS=1) as (process, address):
        with nginx(address, tmp_path) as front:
            async with asyncio.timeout(60), load(front, 16) as running:
                await running.until("200", 300)
                process.popen.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
                served = running.outcomes["200"]
                await running.until("502", 1)
            assert running.dropped.keys() == {"502"}
            assert served >= 300


async def test_nginx_passes_streams_websockets_and_uploads(
    upstream: Upstream, tmp_path: Path
) -> None:
    """A WebSocket, server-sent events of a search and of an import, and an upload."""
    data = tmp_path / "data"
    with serving(upstream, TRUSTED_PROXY_HOPS=1, SERVICE_API_KEYS=KEY, DATA_DIR=data) as (_, url):
        with nginx(url, tmp_path) as front:
            async with AsyncSearchClient(front, KEY) as client:
                async with client.stream("cat") as events:
                    assert [event.stage async for event in events][-1] == "done"
                async with client.typing() as typing:
                    await typing.search("cat", mode="lexical")
                    assert (await anext(aiter(typing))).results[0].id == "cat"
                lines = ({"_id": str(n), "chunk_text": f"{n} " + "x" * 900} for n in range(30_000))
                job = await client.import_file(lines)
                assert (job.bytes or 0) > 25_000_000, "less than nginx's limit for other requests"
                assert (await client.cancel_import(job.id)).status == "cancelled"
                async with client.watch_import(job.id) as jobs:
                    assert [each.status async for each in jobs] == ["cancelled"]
