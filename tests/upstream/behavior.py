"""Faults of the fake upstream. Each behavior writes its response to a real socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

NormalAnswer = Callable[[], bytes]


class Behavior(Protocol):
    """Answers one request. `normal()` performs the request and returns the normal response."""

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None: ...


def http(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A complete HTTP response."""
    lines = {"content-type": "application/json", "content-length": str(len(body))}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


@dataclass(frozen=True)
class Delay:
    """Answer normally after a delay."""

    seconds: float

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        await asyncio.sleep(self.seconds)
        writer.write(normal())


@dataclass(frozen=True)
class Hang:
    """Never answer."""

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        await asyncio.sleep(3600)


@dataclass(frozen=True)
class Drip:
    """Send one byte at a time, and never the last one."""

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        for byte in normal()[:-1]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        await asyncio.sleep(3600)


@dataclass(frozen=True)
class Reset:
    """Reset the connection instead of answering."""

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@dataclass(frozen=True)
class Truncate:
    """Close the connection in the middle of the body."""

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        writer.write(normal()[:-10])
        await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Status:
    """Answer with an error status and Pinecone's error body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "upstream says no"

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        error = {"code": "ANY", "message": self.message}
        body = orjson.dumps({"error": error, "status": self.status})
        writer.write(http(self.status, body, self.headers))


@dataclass(frozen=True)
class Garbage:
    """Answer with a body that contradicts its headers."""

    body: bytes = b'{"result": {"hits": [{"_id": '
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        writer.write(http(200, self.body, self.headers))


@dataclass(frozen=True)
class Wrong:
    """Answer with valid JSON of the wrong shape."""

    body: Any

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        writer.write(http(200, orjson.dumps(self.body)))


@dataclass
class Flaky:
    """Use `behavior` for the first `times` requests, and answer normally after them."""

    behavior: Behavior
    times: int

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        if self.times:
            self.times -= 1
            await self.behavior.answer(writer, normal)
        else:
            writer.write(normal())


@dataclass
class After:
    """Answer the first `normal_times` requests normally, and use `behavior` after them."""

    normal_times: int
    behavior: Behavior

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        if self.normal_times:
            self.normal_times -= 1
            writer.write(normal())
        else:
            await self.behavior.answer(writer, normal)


@dataclass
class Gate:
    """Perform the request, but answer only when `opened` is set (from any thread)."""

    opened: threading.Event = field(default_factory=threading.Event)

    async def answer(self, writer: asyncio.StreamWriter, normal: NormalAnswer) -> None:
        await asyncio.to_thread(self.opened.wait, 100)
        writer.write(normal())
