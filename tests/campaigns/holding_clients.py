"""Clients that hold connections: `python -m tests.campaigns.holding_clients PORT`.

They connect to PORT, each again when it is disconnected, until stdin ends. A line of JSON says when
all have connected once, and another one at the end how often each kind was disconnected.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import select
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import uvloop

HEAD = b"GET /api/semantic-search?text_query=cat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
BODY = (
    b"POST /api/semantic-search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 10000\r\n\r\n"
)
LONG_ANSWERS = 8 * (
    b"GET /api/semantic-search?text_query=the+warm+cat&top_k=360&fields=* HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n\r\n"
)
TRICKLE_S = 1.0
CHECK_S = 0.5
SMALL_BUFFER_BYTES = 4_096
RECONNECT_S = 5.0  # at most
CONNECTS_AT_ONCE = 64
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


@dataclass(frozen=True)
class Counts:
    """The number of clients of each kind."""

    slow_heads: int = 500
    slow_bodies: int = 500
    never_read: int = 200
    idle: int = 2_000

    @property
    def total(self) -> int:
        return self.slow_heads + self.slow_bodies + self.never_read + self.idle


class Holders:
    """All clients, in one event loop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connecting = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self.disconnected: Counter[str] = Counter()
        self.connected = 0

    async def hold(self, kind: str, use: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Connect again and again; `use` returns when the service has disconnected."""
        await asyncio.sleep(random.random())
        is_first = True
        while True:
            with socket.socket() as sock:
                sock.setblocking(False)
                if use == self.read_nothing:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
                async with self._connecting:
                    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
                self.connected += is_first
                is_first = False
                with contextlib.suppress(OSError):
                    await use(sock)
            self.disconnected[kind] += 1
            await asyncio.sleep(RECONNECT_S * random.random())

    async def send_slowly(self, sock: socket.socket, start: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, start)
        while not _is_gone(sock):
            await asyncio.sleep(TRICKLE_S)
            await loop.sock_sendall(sock, b"a")

    async def read_nothing(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, LONG_ANSWERS)
        await self.idle(sock)

    async def idle(self, sock: socket.socket) -> None:
        while not _is_gone(sock):
            await asyncio.sleep(CHECK_S)


def _is_gone(sock: socket.socket) -> bool:
    """Whether the service has closed the connection. Nothing is read."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return any(event & GONE for _, event in poll.poll(0))


async def run(port: int, counts: Counts) -> None:
    holders = Holders(port)
    kinds: list[tuple[str, int, Callable[[socket.socket], Awaitable[None]]]] = [
        ("slow_heads", counts.slow_heads, lambda sock: holders.send_slowly(sock, HEAD)),
        ("slow_bodies", counts.slow_bodies, lambda sock: holders.send_slowly(sock, BODY)),
        ("never_read", counts.never_read, holders.read_nothing),
        ("idle", counts.idle, holders.idle),
    ]
    clients = [
        asyncio.create_task(holders.hold(kind, use))
        for kind, count, use in kinds
        for _ in range(count)
    ]
    while holders.connected < counts.total:
        await asyncio.sleep(0.05)
    print(json.dumps({"connected": holders.connected}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.cancel()
    outcomes = await asyncio.gather(*clients, return_exceptions=True)
    broken = [repr(each) for each in outcomes if not isinstance(each, asyncio.CancelledError)]
    print(json.dumps({"disconnected": holders.disconnected, "broken": broken[:3]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.holding_clients")
    parser.add_argument("port", type=int)
    for name, count in asdict(Counts()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=count)
    options = vars(parser.parse_args())
    uvloop.run(run(options.pop("port"), Counts(**options)))


if __name__ == "__main__":
    main()
