"""A thousand listeners to the events of one import: `python -m bench.listeners`.

The upstream delays every batch, so that the import takes about a minute at little cost. A tenth of
the listeners have tiny buffers and never read; the server must cut them off. All others must
receive every event. The memory per listener is the increase of the process over the import without
any.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.cascade import started
from bench.command import end_on_signals, positive
from bench.processes import Failed, Process

WRITE_DELAY_MS = 500.0
SMALL_BUFFER = 2048
ESTABLISHED = "01"


@dataclass
class Listener:
    """One listener that reads, and the events it received."""

    revisions: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ended_properly: bool = False

    @property
    def got_everything(self) -> bool:
        """Whether no revision is missing from the first to the end of the stream."""
        seen = self.revisions
        whole = seen == list(range(seen[0], seen[-1] + 1)) if seen else False
        return whole and self.ended_properly and self.names[-1] == "done"


async def listen(port: int, path: str, listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunk = (await reader.readexactly(size + 2)).decode()
            for line in chunk.split("\n"):
                name, _, value = line.partition(": ")
                if name == "id" and (
                    not listener.revisions or listener.revisions[-1] != int(value)
                ):
                    listener.revisions.append(int(value))
                elif name == "event":
                    listener.names.append(value)
        listener.ended_properly = True
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return
    finally:
        writer.close()


def open_unread_stream(port: int, path: str) -> socket.socket:
    """Open a stream of events that is never read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    return connection


def still_served(port: int, connections: list[socket.socket]) -> int:
    """The number of connections that the server still keeps open."""
    ours = {connection.getsockname()[1] for connection in connections}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if int(local[-4:], 16) == port and int(remote[-4:], 16) in ours and state == ESTABLISHED:
            count += 1
    return count


def asked(port: int, method: str, path: str, body: bytes | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/x-ndjson"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise Failed(f"{method} {path} was answered with {answer.status}: {told}")
    return told


def records(count: int) -> bytes:
    lines = ({"_id": f"r{n}", "chunk_text": f"record number {n}"} for n in range(count))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def measure(service: Process, options: argparse.Namespace) -> int:
    job = await asyncio.to_thread(
        asked, service.port, "POST", "/api/imports", records(options.records)
    )
    path = f"/api/imports/{job['id']}/events"
    await asyncio.sleep(2.0)
    alone_mib, cpu_s = service.memory_mib(), service.cpu_seconds()
    began = time.perf_counter()
    stalled = [open_unread_stream(service.port, path) for _ in range(options.listeners // 10)]
    listeners = [Listener() for _ in range(options.listeners - len(stalled))]
    tasks = [asyncio.create_task(listen(service.port, path, each)) for each in listeners]
    most_mib = 0.0
    gone_after: float | None = None
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.5)
        seconds = time.perf_counter() - began
        most_mib = max(most_mib, service.memory_mib())
        if gone_after is None and not still_served(service.port, stalled):
            gone_after = seconds
        if seconds > options.longest:
            break
    took = time.perf_counter() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    job = await asyncio.to_thread(asked, service.port, "GET", f"/api/imports/{job['id']}")
    whole = sum(each.got_everything for each in listeners)
    events = sum(len(each.names) for each in listeners)
    each_kb = (most_mib - alone_mib) * 1024 / options.listeners
    print(f"job: {job['status']}, {job['written']:,} written, {job['revision']} revisions")
    print(f"{whole} of {len(listeners)} listeners got every event, {events:,} in all")
    print(f"memory: {alone_mib:.0f} MiB alone, {most_mib:.0f} peak, {each_kb:.1f} kB a listener")
    print(f"CPU: {100 * (service.cpu_seconds() - cpu_s) / took:.0f} % of one over {took:.0f} s")
    gone = "not all" if gone_after is None else f"all after {gone_after:.1f} s"
    print(f"{len(stalled)} that never read were cut off: {gone}")
    for connection in stalled:
        connection.close()
    return 0 if whole == len(listeners) and gone_after is not None else 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.listeners")
    parser.add_argument("--listeners", type=positive, default=1_000)
    parser.add_argument("--records", type=positive, default=45_000, help="about 750 per second")
    parser.add_argument("--longest", type=float, default=180.0, help="seconds")
    options = parser.parse_args(arguments)
    end_on_signals()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs")
    try:
        with started("--write-delay-ms", str(WRITE_DELAY_MS)) as (service, _):
            return uvloop.run(measure(service, options))
    except Failed as exc:
        print(f"bench.listeners: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
