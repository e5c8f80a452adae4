"""HTTP/1.1 over a real connection: malformed requests, edge cases, and clients that disconnect."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.process import Process, serving
from tests.upstream import Gate, Upstream, Wrong

Address = tuple[str, int]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Process, str]]:
    with Upstream() as upstream, serving(upstream) as (process, address):
        yield process, address


@pytest.fixture(scope="module")
def address(running: tuple[Process, str]) -> str:
    return running[1]


def exchange(address: str, raw: bytes) -> bytes:
    """Send bytes, and return everything received until the service closes the connection."""
    url = urlsplit(address)
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60) as sock:
        sock.sendall(raw)
        return b"".join(iter(lambda: sock.recv(65536), b""))


CHUNKED = (
    b"POST /api/semantic-search HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
MALFORMED = [
    (b"garbage\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),  # no Host
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400, "malformed_request"),
    (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ten\r\n\r\n",
        400,
        "malformed_request",
    ),
    (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 400_000 + b"\r\n\r\n",
        431,
        "headers_too_large",
    ),
    (b"GET /healthz HTTP/3.7\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
    (b"GET ? HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (b"GET ?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        400,
        "malformed_request",
    ),
    (b"GET http://[:::]/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (b"GET http://a@b/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        400,
        "malformed_request",
    ),
    (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed_request",
    ),
    (CHUNKED + b"2;a\x00b\r\n{}\r\n0\r\n\r\n", 400, "malformed_request"),
    (CHUNKED + b"2;a\rb\r\n{}\r\n0\r\n\r\n", 400, "malformed_request"),
    (CHUNKED + (b"1;" + b"a" * 4_000 + b"\r\nx\r\n") * 6, 400, "malformed_request"),
    (b"\rGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
]


@pytest.mark.parametrize(("raw", "status", "code"), MALFORMED)
def test_malformed_request_gets_json_error_and_a_log_line(
    running: tuple[Process, str], raw: bytes, status: int, code: str
) -> None:
    process, address = running
    head, _, body = exchange(address, raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status), head
    error = json.loads(body)
    assert error["code"] == code
    (line,) = [line for line in process.log().splitlines() if error["request_id"] in line]
    logged = json.loads(line)
    assert (logged["status"], logged["code"], logged["client"]) == (status, code, "127.0.0.1")
    assert error.keys() == {"detail", "code", "request_id"}
    assert f"x-request-id: {error['request_id']}".encode() in head.lower()
    for header in (b"cache-control: no-store", b"x-content-type-options: nosniff"):
        assert header in head.lower()


def test_upgrade_to_cleartext_http_2_is_ignored(address: str) -> None:
    """With it, a client could evade the rules of a proxy in front (h2c smuggling)."""
    raw = (
        b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close, Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    answer = exchange(address, raw)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'{"status":"ok"}' in answer


def test_empty_line_before_request_is_skipped(address: str) -> None:
    """A server should ignore at least one (RFC 9112, 2.2)."""
    raw = b"\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, raw).startswith(b"HTTP/1.1 200")


def test_body_of_one_byte_chunks_is_read(address: str) -> None:
    chunks = (b"1\r\n%c\r\n" % byte for byte in b'{"text_query": "cat"}')
    raw = CHUNKED.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"".join(chunks)
    assert exchange(address, raw + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered(address: str) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, request * 2 + last).count(b'{"status":"ok"}') == 3


def test_head_response_has_no_body(address: str) -> None:
    answer = exchange(
        address, b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


HOSTS = {
    200: [b"h:99999", b"..", b"l" * 64, b"", b"a_b.example", b"[::1]:80", b"1.2.3.4"],
    400: [b"a b", b"[", b"[:::]", b"a/../b", b"a@b", b"h:x", b"h:1:2", b"\xff", b"l" * 400],
}


@pytest.mark.parametrize(
    ("status", "host"), [(status, host) for status in HOSTS for host in HOSTS[status]]
)
def test_host_header_with_invalid_value_is_400(address: str, status: int, host: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n"
    answer = exchange(address, request)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer


@pytest.mark.parametrize("path", [b"/healthz", b"/nowhere", b"/api/semantic-search"])
def test_websocket_handshake_on_http_route_is_rejected(address: str, path: bytes) -> None:
    raw = (
        b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = exchange(address, raw)
    assert answer[9:12] in {b"400", b"404", b"405"}
    assert b"x-request-id: " in answer


def test_absolute_url_in_request_line_is_accepted(address: str) -> None:
    raw = b"GET http://h/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, raw).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "target",
    [
        b"//healthz",
        b"/%2fhealthz",
        b"http://h//healthz",
        b"http://h/healthz;a",
        b"http://h/healthz%3Fa",
        b"http://h/healthz%23a",
    ],
)
def test_target_that_is_not_canonical_is_404(address: str, target: bytes) -> None:
    raw = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, raw).startswith(b"HTTP/1.1 404"), target


@pytest.mark.parametrize(
    "target",
    [b"/api/semantic-search?text_query=b", b"http://localhost/api/semantic-search?text_query=b"],
)
def test_every_spelling_of_a_search_needs_a_slot(upstream: Upstream, target: bytes) -> None:
    gate = Gate()
    upstream.behave(gate, "dense/records/namespaces/__default__/search")
    first = b"GET /api/semantic-search?text_query=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(upstream, MAX_IN_FLIGHT=1, MAX_WAITING=0) as (_, address):
        url = urlsplit(address)
        with socket.create_connection((str(url.hostname), int(url.port or 0)), 60) as busy:
            busy.sendall(first)
            end = time.monotonic() + 60
            while not upstream.searches():
                assert time.monotonic() < end
                time.sleep(0.01)
            raw = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert exchange(address, raw).startswith(b"HTTP/1.1 503")
            gate.opened.set()
            assert busy.recv(12) == b"HTTP/1.1 200"


def test_host_of_absolute_url_replaces_host_header(address: str) -> None:
    """The name in the URL is checked as the Host header would be (RFC 9112, 3.2.2)."""
    raw = b"DELETE http://rebound.example/api/records/a HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    answer = exchange(address, raw + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"origin_refused" in answer


def test_double_slash_is_not_redirected_to_host_header(address: str) -> None:
    raw = b"GET /api//docs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    answer = exchange(address, raw)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"evil" not in answer


def test_body_over_limit_is_413_while_client_still_sends(address: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/api/semantic-search", content=chunks(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def count_sockets(process: Process) -> int:
    """The process's open sockets. Its open files are not counted, because their number varies."""
    count = 0
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(path.readlink()).startswith("socket:")
    return count


def wait_until_closed(process: Process, sockets_before: int) -> None:
    """Wait until the process has no more open sockets than before."""
    end = time.monotonic() + 60
    while count_sockets(process) > sockets_before:
        assert time.monotonic() < end, "connections are still open"
        time.sleep(0.02)


def test_disconnect_closes_socket(upstream: Upstream) -> None:
    """Also before a request, in the middle of one, and while it is answered."""
    request = b"GET /api/semantic-search?text_query=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(upstream, PINECONE_LANE_CALLS=1) as (process, address):
        url = urlsplit(address)
        httpx.get(address + "/api/semantic-search?text_query=a")
        before = count_sockets(process)
        for sent in (b"", b"GET", request, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            for _ in range(40):
                with socket.create_connection((str(url.hostname), int(url.port or 0))) as sock:
                    sock.sendall(sent)
        wait_until_closed(process, before)
        assert httpx.get(address + "/healthz").status_code == 200


def test_client_that_does_not_read_is_disconnected(upstream: Upstream) -> None:
    huge = {"chunk_text": "x" * 8_000_000}
    hits = [{"_id": "a", "_score": 1.0, "fields": huge}]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), "dense")
    request = b"GET /api/semantic-search?text_query=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(upstream, BODY_TIMEOUT_S=0.5) as (process, address):
        url = urlsplit(address)
        before = count_sockets(process)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((str(url.hostname), int(url.port or 0)))
            sock.sendall(request * 3)
            sock.recv(1)
            wait_until_closed(process, before)
