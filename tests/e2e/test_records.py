"""Tests for records over real sockets."""

from __future__ import annotations

import signal
import socket
from urllib.parse import urlsplit

import httpx

from tests.e2e.process import serving
from tests.upstream import Gate, Upstream

INDEXES = ["dense", "sparse"]
UPSERTS = [f"{index}/records/namespaces/__default__/upsert" for index in INDEXES]
BODY = b'{"_id": "a", "chunk_text": "x"}'
KEY = "a-key-of-24-characters-1"


async def test_upsert_commits_after_disconnect_and_sigterm(
    upstream: Upstream,
) -> None:
    gate = Gate()
    upstream.behave(gate, *UPSERTS)
    with serving(upstream, UPSERTS_AT_ONCE=1) as (process, address):
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port)) as client:
            head = (
                f"POST /api/records HTTP/1.1\r\nHost: {where.netloc}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
            )
            client.sendall(head.encode() + BODY)
            await upstream.until(lambda: len(upstream.upserts()) == 1)
        process.popen.send_signal(signal.SIGTERM)
        gate.opened.set()
        assert process.wait() == 0
    assert [set(upstream.records.of(index)) for index in INDEXES] == [{"a"}, {"a"}]


def test_large_body_without_key_gets_401(upstream: Upstream) -> None:
    with serving(upstream, SERVICE_API_KEYS=KEY) as (process, address):
        large = BODY + b" " * 8_000_000
        headers = {"Content-Type": "application/json"}
        rejected = httpx.post(f"{address}/api/records", content=large, headers=headers)
        assert (rejected.status_code, rejected.json()["code"]) == (401, "key_missing")
        headers["Api-Key"] = KEY
        accepted = httpx.post(f"{address}/api/records", content=large, headers=headers)
        assert (accepted.json()["written"], accepted.json()["failed"]) == (1, [])
        assert KEY not in process.log()


def test_record_id_with_slashes_in_path(upstream: Upstream) -> None:
    with serving(upstream) as (_, address):
        httpx.post(f"{address}/api/records", json={"_id": "/a//b/?#%2F", "chunk_text": "x"})
        got = httpx.get(f"{address}/api/records/%2Fa%2F%2Fb%2F%3F%23%252F")
        assert got.json()["_id"] == "/a//b/?#%2F"
