"""Many clients that search as they type: `python -m bench.typing`.

Each has a WebSocket, types a word key by key, waits for the results, and goes on. The upstream is
slower than the typing, so most searches are cancelled. Some other clients search and never read.
Checked: no results out of order, results for every word, cancelled upstream calls, and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
import websockets
from websockets.asyncio.client import ClientConnection

from bench.cascade import started
from bench.command import above_zero, end_on_signals, positive
from bench.figures import percentile
from bench.measuring import answer, refuse_unless_found
from bench.processes import Failed, Process
from bench.upstream import RESTART

PATH = "/api/search/ws"
TARGET = "/api/semantic-search?text_query=hello"
WORDS = ("bread", "winter", "keyboard", "cascade", "lighthouse", "retrieval", "window", "kettle")
PATIENCE_S = 10.0  # for the results of a word
SMALL = 4_096  # receive buffer of a client that never reads
CUT_OFF_S = 40.0  # for the server to cut it off


@dataclass
class Seen:
    """The combined measurements of all typists."""

    keys: int = 0
    words: int = 0
    answered: int = 0
    out_of_order: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    cut_off: int = 0
    memory_mib: list[float] = field(default_factory=list)


class Typist:
    """A client that types and reads the results."""

    def __init__(self, wire: ClientConnection, mode: str, seen: Seen) -> None:
        self._wire = wire
        self._mode = mode
        self._seen = seen
        self._seq = self._latest = 0
        self._done = asyncio.Event()

    async def type(self, keys_per_s: float, until: float) -> None:
        """Type word after word, starting at a random moment."""
        listening = asyncio.create_task(self._listen())
        pause_s, drawn = 1 / keys_per_s, random.Random(id(self))
        await asyncio.sleep(drawn.random() * pause_s)
        try:
            while time.monotonic() < until:
                word = f"{drawn.choice(WORDS)}{drawn.randrange(10_000)}"
                for end in range(1, len(word) + 1):
                    await self._ask(word[:end])
                    if end < len(word):
                        await asyncio.sleep(pause_s)
                await self._wait_for_answer()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _ask(self, text: str) -> None:
        self._seq += 1
        self._seen.keys += 1
        self._done.clear()
        asked = {"type": "search", "seq": self._seq, "mode": self._mode}
        await self._wire.send(json.dumps(asked | {"text_query": text, "rerank": "none"}))

    async def _wait_for_answer(self) -> None:
        began = time.monotonic()
        self._seen.words += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._done.wait()
            self._seen.answered += 1
            self._seen.took_ms.append(1000 * (time.monotonic() - began))

    async def _listen(self) -> None:
        async for text in self._wire:
            told = json.loads(text)
            self._seen.out_of_order += told["seq"] < self._latest
            self._latest = max(self._latest, told["seq"])
            if told["type"] == "error":
                self._seen.errors[told["code"]] = self._seen.errors.get(told["code"], 0) + 1
            if told["seq"] == self._seq and told.get("stage", "done") == "done":
                self._done.set()


async def never_read(port: int, seen: Seen) -> None:
    """Search repeatedly without reading, until the server cuts the connection."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", port))
    url = f"ws://127.0.0.1:{port}{PATH}"
    connection = await websockets.connect(url, sock=wire, ping_interval=None, max_queue=1)
    connection.transport.pause_reading()
    try:
        async with asyncio.timeout(CUT_OFF_S):
            for seq in range(1_000_000):
                asked = {"type": "search", "seq": seq, "mode": "semantic", "text_query": f"{seq}"}
                await connection.send(json.dumps(asked))
                await asyncio.sleep(0.3)
    except TimeoutError:
        connection.transport.abort()
    except websockets.ConnectionClosed:
        seen.cut_off += 1


async def watch(process: Process, seen: Seen) -> None:
    while True:
        seen.memory_mib.append(process.memory_mib())
        await asyncio.sleep(0.2)


async def run(process: Process, options: argparse.Namespace) -> Seen:
    """Run all typists."""
    seen = Seen()
    watching = asyncio.create_task(watch(process, seen))
    until = time.monotonic() + options.seconds
    url = f"ws://127.0.0.1:{process.port}{PATH}"
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for _ in range(options.blocked):
            tasks.create_task(never_read(process.port, seen))
        for _ in range(options.connections):
            wire = await stack.enter_async_context(websockets.connect(url))
            typist = Typist(wire, options.mode, seen)
            tasks.create_task(typist.type(options.keys_per_s, until))
    await asyncio.sleep(1.0)
    watching.cancel()
    seen.memory_mib.append(process.memory_mib())
    return seen


def report(seen: Seen, calls: dict[str, int], cpu_s: float, options: argparse.Namespace) -> int:
    """Print the results; returns the number of failures."""
    took = sorted(seen.took_ms)
    legs = 2 if options.mode == "cascading" else 1
    unanswered, left = seen.words - seen.answered, int(options.blocked) - seen.cut_off
    print(
        f"  keys          {seen.keys}, {seen.keys / options.seconds:.0f}/s; CPU of the service for "
        f"each {1000 * cpu_s / max(seen.keys, 1):.2f} ms\n"
        f"  words         {seen.words}, without results {unanswered}; errors {seen.errors or 0}\n"
        f"  last key to the results  p50 {percentile(took, 0.5):.0f} ms, "
        f"p99 {percentile(took, 0.99):.0f} ms\n"
        f"  out of order  {seen.out_of_order}\n"
        f"  upstream      {calls['searches']} searches, {calls['abandoned']} of them abandoned; "
        f"{seen.keys - calls['searches'] // legs} keys were skipped by the typing pause\n"
        f"  never read    {options.blocked}, cut off {seen.cut_off}\n"
        f"  memory        {seen.memory_mib[0]:.1f} MiB before, {max(seen.memory_mib):.1f} MiB at "
        f"the peak, {seen.memory_mib[-1]:.1f} MiB after"
    )
    return seen.out_of_order + unanswered + left


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.typing")
    parser.add_argument("--connections", type=positive, default=100)
    parser.add_argument("--keys-per-s", type=above_zero, default=10.0, help="of each client")
    parser.add_argument("--seconds", type=positive, default=30)
    parser.add_argument("--delay-ms", type=above_zero, default=150.0, help="delay of the upstream")
    parser.add_argument("--blocked", type=int, default=20, help="clients that never read")
    parser.add_argument("--mode", choices=("semantic", "lexical", "cascading"), default="semantic")
    options = parser.parse_args(arguments)
    end_on_signals()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, upstream "
        f"{options.delay_ms:g} ms; {options.connections} type {options.keys_per_s:g} keys/s for "
        f"{options.seconds} s, {options.mode}",
        flush=True,
    )
    try:
        with started("--delay-ms", str(options.delay_ms)) as (service, upstream):
            refuse_unless_found(service, TARGET)
            answer(upstream, RESTART)
            before = service.cpu_seconds()
            seen = uvloop.run(run(service, options))
            calls = answer(upstream, RESTART)
            wrong = report(seen, calls, service.cpu_seconds() - before, options)
    except Failed as exc:
        print(f"bench.typing: {exc}", file=sys.stderr)
        return 1
    if wrong:
        print(
            "bench.typing: results out of order or missing, or a client not cut off",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
