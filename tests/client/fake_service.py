"""The far end of a wire, which does as it is told: a socket server that is no service at all.

Each request that comes is kept, and answered with the next of the replies: bytes as they are to go
over the wire, and what becomes of the connection after them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

After = Literal["keep", "close", "reset", "hold", "linger"]


@dataclass(frozen=True)
class Reply:
    """What is sent, and what is done then; a held connection is held until the end,
    and who lingers takes what still comes."""

    data: bytes = b""
    after: After = "keep"


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: int, body: Any, after: After = "keep", **headers: str) -> Reply:
    """A whole answer, of JSON or of bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content_type": "application/json", "content_length": str(len(content))} | headers
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items()]
    return Reply(f"HTTP/1.1 {status} X\r\n{''.join(lines)}\r\n".encode() + content, after)


def chunked(*chunks: bytes, after: After = "keep", end: bool = True, **headers: str) -> Reply:
    """An answer in chunks; without `end` it is not whole."""
    given = {"content_type": "text/event-stream", "transfer_encoding": "chunked"} | headers
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items()]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = f"HTTP/1.1 200 OK\r\n{''.join(lines)}\r\n".encode()
    return Reply(head + body + (b"0\r\n\r\n" if end else b""), after)


def event(name: str, data: Any, id: int | None = None) -> bytes:
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass
class FarEnd:
    """What was asked of it, and what it has yet to answer."""

    url: str
    replies: list[Reply]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    heard_of: threading.Event = field(default_factory=threading.Event)  # the first chunk of a body
    hears_bodies: bool = True
    _came: threading.Condition = field(default_factory=threading.Condition)

    def until_asked(self, times: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= times, 60)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as incoming:
            while not self.over.is_set():
                request = self._read(incoming)
                if request is None:
                    return
                with self._came:
                    self.requests.append(request)
                    self._came.notify_all()
                reply = self.replies.pop(0)
                connection.sendall(reply.data)
                if reply.after == "hold":
                    self.over.wait(100)
                if reply.after == "linger":
                    connection.shutdown(socket.SHUT_WR)
                    while incoming.read(65_536):
                        pass
                if reply.after == "reset":
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                if reply.after != "keep":
                    return

    def _read(self, incoming: Any) -> Request | None:
        """The next request; None if there is none."""
        first = incoming.readline().decode()
        if not first:
            return None
        method, target, _ = first.split(" ")
        headers = {}
        while line := incoming.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if not self.hears_bodies:
            body, whole = b"", False
        elif headers.get("transfer-encoding") == "chunked":
            body, whole = _chunks(incoming, self.heard_of)
        else:
            length = int(headers.get("content-length", 0))
            body = incoming.read(length)
            whole = len(body) == length
        return Request(method, target, headers, body, whole)


def _chunks(incoming: Any, heard_of: threading.Event) -> tuple[bytes, bool]:
    body = b""
    while size := incoming.readline().strip():
        if chunk := incoming.read(int(size, 16)):
            body += chunk
        heard_of.set()
        incoming.readline()
        if size == b"0":
            return body, True
    return body, False


@contextlib.contextmanager
def far_end(*replies: Reply) -> Iterator[FarEnd]:
    """It listens until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        end = FarEnd(f"http://127.0.0.1:{port}", list(replies))
        thread = threading.Thread(target=end.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield end
        finally:
            end.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def nobody() -> str:
    """An address at which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
