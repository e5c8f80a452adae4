"""Log lines of a running service cannot be forged by what a client sends, over a raw socket."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.process import Process, serving_offline

ESCAPE = b"\x1b]0;owned\x07\x1b[2J\x9b31m"
ENCODED = b"%0a%0d12:00:00.000%20GET%20/forged%20200%1b[2J%c2%9b31m%e2%80%a8%e2%80%ae"


@pytest.fixture(scope="module", params=["text", "json"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Process, str]]:
    data: Path = tmp_path_factory.mktemp("data")
    options = {"TRUSTED_PROXY_HOPS": 1, "LOG_FORMAT": request.param, "LOG_QUERIES": "true"}
    options |= {"SERVICE_API_KEYS": "0123456789abcdef", "LOAD_SAMPLES": "false"}
    with serving_offline(data, **options) as (process, address):
        yield request.param, process, address


def send(address: str, target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    url = urlsplit(address)
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: localhost", b"Connection: close"]
    raw = b"\r\n".join([*lines, *headers, b"", b""])
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60) as sock:
        sock.sendall(raw)
        return b"".join(iter(lambda: sock.recv(65536), b""))


REQUESTS: dict[str, tuple[Any, ...]] = {
    "path": (b"/" + ENCODED,),
    "not canonical path": (b"//" + ENCODED,),
    "record id": (b"/api/records/" + ENCODED,),
    "client": (b"/x", b"X-Forwarded-For: 1.2.3.4" + ESCAPE),
    "long client": (b"/x", b"X-Forwarded-For: " + b"9" * 5000),
    "client of a path that is not canonical": (b"//x", b"X-Forwarded-For: " + ESCAPE),
    "request id": (b"/x", b"X-Request-Id: a" + ESCAPE),
    "trace": (b"/x", b"traceparent: 00-" + ESCAPE),
    "host": (b"/x", b"X-Forwarded-Host: a" + ESCAPE),
    "key": (b"/api/stats", b"Api-Key: a" + ESCAPE),
    "query": (
        b"/api/lexical-search?text_query=" + ENCODED,
        b"Api-Key: 0123456789abcdef",
    ),
    "namespace": (
        b"/api/records?namespace=" + ENCODED,
        b"Api-Key: 0123456789abcdef",
    ),
    "websocket": (
        b"/api/search/ws?" + ENCODED,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        b"Origin: http://a" + ESCAPE,
        b"X-Forwarded-For: " + ESCAPE,
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_log_line_of_hostile_request_is_one_printable_line(
    service: tuple[str, Process, str], name: str
) -> None:
    style, process, address = service
    before = len(process.log())
    target, *headers = REQUESTS[name]
    assert send(address, target, *headers).startswith(b"HTTP/1.1 ")
    send(address, b"/end-of-this-test")
    lines = process.log()[before:].split("\n")
    assert any("/end-of-this-test" in line for line in lines)
    for line in filter(None, lines):
        assert line.isprintable()
        assert len(line) < 2_000
        if style == "json":
            json.loads(line)
        else:
            assert re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line)
        assert not line.startswith("12:00:00.000 GET /forged")


def test_log_line_of_hostile_method_is_one_printable_line(
    service: tuple[str, Process, str],
) -> None:
    _, process, address = service
    before = len(process.log())
    send(address, b"/x", method=b"GET\x1b[2J")
    send(address, b"/x", method=b"~`!#$%&'*+.^_|" * 100)
    send(address, b"/end-of-this-test")
    assert all(line.isprintable() for line in process.log()[before:].split("\n"))
