"""Hypercorn's HTTP/1.1, with some things of our own.

- A request that is no HTTP at all is answered in the shape of every other error, and so is one
  whose handling was cut off.
- Nothing but HTTP/1.1 is spoken, and WebSockets. HTTP/2 over cleartext, by `Upgrade: h2c` or by
  prior knowledge, is a way around the rules of a proxy in front.
- A response whose length is known leaves in one write instead of three.
- Where a response goes on for long, little is held for a client that does not read it.

Hypercorn offers no place for any of it, so this overrides methods that are not part of its
documented interface; the version is pinned, and tests hold each of them down (docs/decisions/0003).
"""

from __future__ import annotations

import re
import uuid
from typing import cast

import h11
import orjson
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import H11SendableEvent

from service.server.slow_clients import SlowClientPolicy, WriteMonitor
from service.server.websocket import WebSocketStream

SWITCHING = 101
BAD_REQUEST = 400
HEADERS_TOO_LARGE = 431
INTERNAL_ERROR = 500
UNAVAILABLE = 503

_SENTENCES = {
    BAD_REQUEST: ("malformed_request", "The request is not valid HTTP/1.1"),
    INTERNAL_ERROR: ("internal_error", "Something went wrong inside of the service"),
    UNAVAILABLE: ("stopping", "The service is stopping; try again shortly"),
    HEADERS_TOO_LARGE: (
        "headers_too_large",
        "The request line and headers are larger than this service takes",
    ),
}

_NO_HANDSHAKE = ("malformed_request", "The WebSocket handshake is not valid")
_EVENT_STREAM = b"text/event-stream"
_BODY = {b"content-length", b"transfer-encoding"}

# A path, the whole server, or an address with a path: what a request can be about.
_TARGET = re.compile(rb"/.*|\*|https?://([\w.-]+|\[[0-9A-Fa-f:]+\])(:\d+)?/.*", re.DOTALL)


class StrictH11(H11Protocol):
    """HTTP/1.1 and WebSockets, and nothing else."""

    wire: WriteMonitor
    patience: SlowClientPolicy

    _received = 0  # bytes
    _held = b""  # the head of a response that waits for its body
    _answered = False  # in place of the application

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            self._received += len(event.data)
        await super().handle(event)

    def has_answered(self, received: int) -> bool:
        """Whether so many bytes were all that came, and every request in them is answered."""
        idle = self.stream is None and self.connection.their_state is h11.IDLE
        return idle and self._received == received and not self.connection.trailing_data[0]

    async def _check_protocol(self, event: h11.Request) -> None:
        """Upgrade to nothing: a server may ignore `Upgrade`."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in {b"1.0", b"1.1"} or not _TARGET.fullmatch(request.target):
            await self._send_error_response(BAD_REQUEST)
            await self.send(Closed())
            return
        if not any(name == b"upgrade" for name, _ in request.headers):
            await super()._create_stream(request)
        elif _is_handshake(request):
            await self._create_socket(request)
        else:
            await super()._create_stream(_without_upgrade(request))

    async def _create_socket(self, request: h11.Request) -> None:
        """What Hypercorn does for a WebSocket, but that it is ours."""
        self.stream = WebSocketStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
            patience=self.patience,
        )
        self.connection = H11WSConnection(cast("h11.Connection", self.connection))
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method="GET",
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def stream_send(self, event: StreamEvent) -> None:
        if self._is_socket and isinstance(event, Response) and _is_bare(event):
            await self._send_error(event.status_code, *_NO_HANDSHAKE)
            self._answered = True
        elif _is_bare_error(event):
            stopping = self.context.terminated.is_set()
            await self._send_error_response(UNAVAILABLE if stopping else INTERNAL_ERROR)
            self._answered = True
        elif not (self._answered and isinstance(event, EndBody)):
            if isinstance(event, Response) and _goes_on(event):
                self.wire.narrow()
            if isinstance(event, StreamClosed) and self._breaks_off_unseen:
                await self.wire.reset()
            await super().stream_send(event)
            if isinstance(event, EndBody):
                self.wire.widen()

    @property
    def _breaks_off_unseen(self) -> bool:
        """To HTTP/1.0 the end of the connection is the end of the body, unless it is reset."""
        return (
            not self._is_socket
            and self.connection.our_state is h11.SEND_BODY
            and self.connection.their_http_version == b"1.0"
        )

    @property
    def _is_socket(self) -> bool:
        return isinstance(self.stream, WSStream)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        self._held += data or b""
        whole_body_follows = isinstance(event, h11.Response) and any(
            name == b"content-length" for name, _ in event.headers
        )
        if self._held and not whole_body_follows:
            held, self._held = self._held, b""
            await self.send(RawData(held))

    async def _send_error_response(self, status_code: int) -> None:
        if status_code not in _SENTENCES:  # 501 for a transfer coding, say: the request is at fault
            status_code = BAD_REQUEST
        await self._send_error(status_code, *_SENTENCES[status_code])

    async def _send_error(self, status_code: int, code: str, detail: str) -> None:
        request_id = uuid.uuid4().hex
        body = orjson.dumps({"detail": detail, "code": code, "request_id": request_id})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _without_upgrade(request: h11.Request) -> h11.Request:
    """There is nothing else to upgrade to, and a server may ignore the wish."""
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
        http_version=request.http_version,
    )


def _is_handshake(request: h11.Request) -> bool:
    """Whether it asks for a WebSocket, as it is done in HTTP/1.1."""
    named: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name in _BODY:
            return False
        named.setdefault(name, []).append(value.lower())
    tokens = {
        token.strip() for value in named.get(b"connection", []) for token in value.split(b",")
    }
    return (
        (request.method, request.http_version) == (b"GET", b"1.1")
        and named.get(b"upgrade") == [b"websocket"]
        and b"upgrade" in tokens
    )


def _is_bare_error(event: StreamEvent) -> bool:
    """What Hypercorn sends by itself where the application was cancelled, or failed."""
    return isinstance(event, Response) and event.status_code == INTERNAL_ERROR and _is_bare(event)


def _is_bare(response: Response) -> bool:
    return (b"content-length", b"0") in response.headers


def _goes_on(response: Response) -> bool:
    """Whether it may go on for long: a WebSocket, or events."""
    return response.status_code == SWITCHING or any(
        name == b"content-type" and value.startswith(_EVENT_STREAM)
        for name, value in response.headers
    )
