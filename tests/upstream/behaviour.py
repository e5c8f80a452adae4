"""The ways in which the upstream can be told to misbehave. Each one writes to a real socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

Usual = Callable[[], bytes]


class Behaviour(Protocol):
    """What is done with one request. `usual` does what is asked, and is what to answer then."""

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None: ...


def http(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP answer."""
    lines = {"content-type": "application/json", "content-length": str(len(body))}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


@dataclass(frozen=True)
class Delay:
    """Answer as usual, later."""

    seconds: float

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        await asyncio.sleep(self.seconds)
        writer.write(usual())


@dataclass(frozen=True)
class Hang:
    """Never answer, until the other side gives up."""

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        await asyncio.sleep(3600)


@dataclass(frozen=True)
class Drip:
    """Send a byte at a time, and never come to the end."""

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        for byte in usual()[:-1]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        await asyncio.sleep(3600)


@dataclass(frozen=True)
class Reset:
    """Reset the connection in place of an answer."""

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@dataclass(frozen=True)
class Truncate:
    """Close in the middle of the body."""

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        writer.write(usual()[:-10])
        await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Status:
    """Answer with a status, in Pinecone's words for errors."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "upstream says no"

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        error = {"code": "ANY", "message": self.message}
        body = orjson.dumps({"error": error, "status": self.status})
        writer.write(http(self.status, body, self.headers))


@dataclass(frozen=True)
class Garbage:
    """A body that is not what its headers say."""

    body: bytes = b'{"result": {"hits": [{"_id": '
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        writer.write(http(200, self.body, self.headers))


@dataclass(frozen=True)
class Wrong:
    """Valid JSON of another shape."""

    body: Any

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        writer.write(http(200, orjson.dumps(self.body)))


@dataclass
class Flaky:
    """Misbehave for so many requests, and then as usual."""

    behaviour: Behaviour
    times: int

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        if self.times:
            self.times -= 1
            await self.behaviour.answer(writer, usual)
        else:
            writer.write(usual())


@dataclass
class After:
    """As usual for so many requests, and only then misbehave."""

    usual_times: int
    behaviour: Behaviour

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        if self.usual_times:
            self.usual_times -= 1
            writer.write(usual())
        else:
            await self.behaviour.answer(writer, usual)


@dataclass
class Gate:
    """Do what is asked, but answer only when the gate is opened (from any thread)."""

    opened: threading.Event = field(default_factory=threading.Event)

    async def answer(self, writer: asyncio.StreamWriter, usual: Usual) -> None:
        await asyncio.to_thread(self.opened.wait, 100)
        writer.write(usual())
