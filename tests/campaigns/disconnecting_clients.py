"""Clients that send a request and disconnect at a random moment, in a random way."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any

CONCURRENCY = 64
MAX_WAIT_S = 0.1
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class RawRequest:
    """The bytes of a request."""

    head: bytes
    body: bytes = b""


def get(target: str) -> RawRequest:
    return RawRequest(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def send(method: str, path: str, content: Any) -> RawRequest:
    body = json.dumps(content).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return RawRequest(head.encode(), body)


def random_request(rng: random.Random, *, writes: bool) -> RawRequest:
    """A search of any kind, or a record operation."""
    query = rng.choice(["the warm cat", "before the winter", "error code"])
    path = rng.choice(["semantic-search", "lexical-search", "cascading-retrieval"])
    rerank = rng.choice(["none", "union", "per-leg"])
    number = rng.randrange(1000)
    record = {"_id": f"r{number}", "chunk_text": f"{query} {number}"}
    choices = [
        get(f"/api/{path}?text_query={query.replace(' ', '+')}"),
        get(f"/api/cascading-retrieval?text_query=cat&rerank={rerank}"),
        send("POST", f"/api/{path}", {"text_query": query, "fields": ["*"]}),
        send("POST", "/api/cascading-retrieval", {"text_query": query, "rerank": rerank}),
        get(f"/api/records/r{number}"),
        get("/api/records?prefix=r"),
        get("/api/stats"),
    ]
    if writes:
        choices.append(send("POST", "/api/records", [record]))
        choices.append(send("DELETE", "/api/records", {"ids": [f"r{number}"]}))
    return rng.choice(choices)


async def send_and_disconnect(port: int, request: RawRequest, rng: random.Random) -> str:
    """Send a request and disconnect; returns when and how."""
    when = rng.choice(["in the head", "in the body", "at once", "waiting", "in the answer"])
    how = rng.choice(["reset", "closed"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = writer.get_extra_info("socket")
    try:
        whole = request.head + request.body
        if when == "in the head":
            whole = whole[: rng.randrange(1, len(request.head))]
        elif when == "in the body" and request.body:
            whole = whole[: -rng.randrange(1, len(request.body) + 1)]
        writer.write(whole)
        if when == "waiting" or (when == "in the body" and rng.random() < 0.5):
            await asyncio.sleep(rng.random() * MAX_WAIT_S)
        elif when == "in the answer":
            await asyncio.wait_for(reader.read(rng.randrange(1, 400)), 20)
    finally:
        if how == "reset":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        else:
            writer.close()
    return f"{when}, {how}"


async def disconnect_repeatedly(
    port: int, times: int, rng: random.Random, *, writes: bool
) -> Counter[str]:
    """Do that `times` times, `CONCURRENCY` at once."""
    ways: Counter[str] = Counter()
    left = iter(range(times))

    async def client() -> None:
        for _ in left:
            ways[await send_and_disconnect(port, random_request(rng, writes=writes), rng)] += 1

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONCURRENCY):
            clients.create_task(client())
    return ways
