"""A load generator with low CPU cost: `python -m bench.load URL`.

A closed loop: each of N connections sends the next request as soon as the previous response is
complete, so N requests are always in flight and a slower service receives fewer. It measures
throughput; its percentiles are those of a service at this concurrency, not at a fixed arrival rate.
Bodies are not parsed, and a response without Content-Length counts as broken. `{n}` in the URL is
replaced by the number of the request, so that all requests differ.

The first quarter of the time is warm-up: its requests count as answered or failed, but neither in
the rate nor in the percentiles.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.figures import Result, result

LEAD_IN = 0.25  # share of the time that is warm-up
GRACE_S = 5.0  # for responses in flight at the end
RECONNECT_PAUSE_S = 0.05


class Run:
    """The state shared by all connections of a run."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r} is not an http:// URL")
        self.host, self.port = parts.hostname, parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = f"GET {target} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
        self._before, self._numbered, self._after = request.partition(b"{n}")
        self._numbers = itertools.count()
        self.latencies_s: list[float] = []  # of requests sent after `measured_from`
        self.measured_from = math.inf
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.over = False

    @property
    def answers(self) -> int:
        return self.statuses.total()

    def request(self) -> bytes:
        if not self._numbered:
            return self._before
        return b"%b%d%b" % (self._before, next(self._numbers), self._after)

    def answered(self, status: int, sent_at: float, head: bytes) -> float:  # noqa: ARG002 - for subclasses
        """Count a response; returns the pause before the next request in seconds."""
        if sent_at >= self.measured_from:
            self.latencies_s.append(time.perf_counter() - sent_at)
        self.statuses[status] += 1
        return 0.0

    async def keep_connected(self, after_s: float) -> None:
        """Keep one connection open; reconnects when it is lost."""
        await asyncio.sleep(after_s)
        loop = asyncio.get_running_loop()
        while not self.over:
            lost: asyncio.Future[None] = loop.create_future()
            try:
                transport, _ = await loop.create_connection(
                    partial(_Connection, self, lost), self.host, self.port
                )
            except OSError:
                self.broken += 1
                await asyncio.sleep(RECONNECT_PAUSE_S)
                continue
            try:
                await lost
            finally:
                transport.abort()


class _Connection(asyncio.Protocol):
    """Sends a request, reads the response, and repeats."""

    def __init__(self, run: Run, lost: asyncio.Future[None]) -> None:
        self._run = run
        self._lost = lost
        self._received = b""
        self._head = b""  # of the response, in lower case
        self._size = 0  # of the whole response, once known
        self._last = False  # the server closes the connection after this response
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._size:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = head = self._received[:end].lower()
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
            if not length.isdigit():
                self._transport.abort()
                return
            self._size = end + 4 + int(length)
            self._last = b"\r\nconnection: close" in head
        if len(self._received) == self._size:
            self._answered()
        elif len(self._received) > self._size:  # more than one response
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._run.broken += self._waiting
        if not self._lost.done():
            self._lost.set_result(None)

    def _answered(self) -> None:
        pause_s = self._run.answered(int(self._received[9:12]), self._sent_at, self._head)
        self._received, self._size, self._waiting = b"", 0, False
        if pause_s:
            asyncio.get_running_loop().call_later(pause_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self._run.over or self._last or self._transport.is_closing():
            self._transport.close()
            return
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(self._run.request())


async def load(url: str, connections: int, seconds: float) -> Result:
    """Keep `connections` requests in flight for `seconds`, then wait for the last ones."""
    run = Run(url)
    cpu_s = time.process_time()
    rate = await keep_in_flight(run, connections, seconds)
    cpu_s = time.process_time() - cpu_s
    return result(rate, run.latencies_s, run.statuses, run.broken, cpu_s)


async def keep_in_flight(
    run: Run, connections: int, seconds: float, ramp_s: float = 0.0, grace_s: float = GRACE_S
) -> float:
    """Run the load; returns the responses per second after the warm-up.

    The connections are made within the first `ramp_s`.
    """
    slots = [
        asyncio.create_task(run.keep_connected(ramp_s * number / connections))
        for number in range(connections)
    ]
    await asyncio.sleep(seconds * LEAD_IN)
    before, run.measured_from = run.answers, time.perf_counter()
    await asyncio.sleep(seconds * (1 - LEAD_IN))
    run.over = True
    rate = (run.answers - before) / (time.perf_counter() - run.measured_from)
    _, late = await asyncio.wait(slots, timeout=grace_s)
    for slot in late:
        slot.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    await asyncio.sleep(0)  # lets aborted connections be counted as broken
    return rate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    try:
        got = uvloop.run(load(options.url, options.connections, options.seconds))
    except ValueError as exc:
        parser.error(str(exc))
    print(json.dumps(asdict(got) | {"errors": got.errors}, indent=2))
    return 1 if got.errors or not got.responses else 0


if __name__ == "__main__":
    raise SystemExit(main())
