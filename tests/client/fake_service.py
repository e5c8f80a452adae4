"""A socket server that answers with scripted bytes.

It records each request and answers it with the next reply: raw bytes, and what to do with the
connection afterwards.
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
    """The bytes to send, and what to do with the connection afterwards.
    `hold` keeps it open until the server ends; `linger` reads until the client closes it."""

    data: bytes = b""
    after: After = "keep"


@dataclass(frozen=True)
class Request:
    """A received request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: int, body: Any, after: After = "keep", **headers: str) -> Reply:
    """A complete response with a JSON or raw body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content_type": "application/json", "content_length": str(len(content))} | headers
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items()]
    return Reply(f"HTTP/1.1 {status} X\r\n{''.join(lines)}\r\n".encode() + content, after)


def chunked(*chunks: bytes, after: After = "keep", end: bool = True, **headers: str) -> Reply:
    """A chunked response; without `end` it is truncated."""
    given = {"content_type": "text/event-stream", "transfer_encoding": "chunked"} | headers
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items()]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = f"HTTP/1.1 200 OK\r\n{''.join(lines)}\r\n".encode()
    return Reply(head + body + (b"0\r\n\r\n" if end else b""), after)


def event(name: str, data: Any, id: int | None = None) -> bytes:
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass
class ScriptedServer:
    """The requests received so far, and the replies still to send."""

    url: str
    replies: list[Reply]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    first_chunk_received: threading.Event = field(default_factory=threading.Event)
    reads_bodies: bool = True
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_requests(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= times, 60)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                thread = threading.Thread(
                    target=self._serve_connection, args=(connection,), daemon=True
                )
                thread.start()

    def _serve_connection(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as incoming:
            while not self.stopped.is_set():
                request = self._read(incoming)
                if request is None:
                    return
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                reply = self.replies.pop(0)
                connection.sendall(reply.data)
                if reply.after == "hold":
                    self.stopped.wait(100)
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
        """Returns the next request, or None at the end of the connection."""
        first = incoming.readline().decode()
        if not first:
            return None
        method, target, _ = first.split(" ")
        headers = {}
        while line := incoming.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if not self.reads_bodies:
            body, whole = b"", False
        elif headers.get("transfer-encoding") == "chunked":
            body, whole = _chunks(incoming, self.first_chunk_received)
        else:
            length = int(headers.get("content-length", 0))
            body = incoming.read(length)
            whole = len(body) == length
        return Request(method, target, headers, body, whole)


def _chunks(incoming: Any, first_chunk_received: threading.Event) -> tuple[bytes, bool]:
    body = b""
    while size := incoming.readline().strip():
        if chunk := incoming.read(int(size, 16)):
            body += chunk
        first_chunk_received.set()
        incoming.readline()
        if size == b"0":
            return body, True
    return body, False


@contextlib.contextmanager
def scripted_server(*replies: Reply) -> Iterator[ScriptedServer]:
    """Serves the replies until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = ScriptedServer(f"http://127.0.0.1:{port}", list(replies))
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def unused_url() -> str:
    """A URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
