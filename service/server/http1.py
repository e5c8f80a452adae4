"""Hypercorn's HTTP/1.1 protocol, stricter and with our error responses.

- A malformed request, and one whose handler was cancelled, get an error response in our format.
- Only HTTP/1.1 and WebSocket are supported. Cleartext HTTP/2, by `Upgrade: h2c` or by prior
  knowledge, would bypass the rules of a proxy in front.
- A response of known length is sent in one write instead of three.
- Long responses have small write buffers.

Hypercorn has no hooks for these, so this overrides methods that are not part of its documented
interface; its version is pinned, and a test covers each of them (docs/decisions/0003).
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, cast

import h11
import orjson
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import H11SendableEvent

from service.errors import (
    HeadersTooLarge,
    InternalError,
    MalformedRequest,
    RequestError,
    Stopping,
)
from service.server import request_rules
from service.server.h11_readers import H11Connection
from service.server.slow_clients import SlowClientPolicy, WriteMonitor
from service.server.websocket import WebSocketStream
from service.web.asgi import encode_headers
from service.web.browsers.security_headers import EVERY_RESPONSE
from service.web.errors import error_body

logger = logging.getLogger("service.access")

SWITCHING = 101
BAD_REQUEST = 400
INTERNAL_ERROR = 500
UNAVAILABLE = 503

_ERRORS: dict[int, RequestError] = {
    error.status: error
    for error in (
        MalformedRequest("The request is not valid HTTP/1.1"),
        InternalError("The service failed to handle this request"),
        Stopping("The service is stopping; try again shortly"),
        HeadersTooLarge(
            "The request line and headers are larger than this service accepts; send a long query "
            "as a POST"
        ),
    )
}

_NO_HANDSHAKE = MalformedRequest("The WebSocket handshake is not valid")
_EVENT_STREAM = b"text/event-stream"
_BODY = {b"content-length", b"transfer-encoding"}


class StrictH11(H11Protocol):
    """HTTP/1.1 and WebSocket on one connection."""

    writes: WriteMonitor
    slow_clients: SlowClientPolicy

    _received = 0  # bytes
    _pending_head = b""  # of a response whose body follows
    _has_sent_error = False  # in place of the application

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = H11Connection(self.config.h11_max_incomplete_size)

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            self._received += len(event.data)
        await super().handle(event)

    def is_idle(self, received: int) -> bool:
        """Whether `received` bytes have all been processed, and every request in them answered."""
        idle = self.stream is None and self.connection.their_state is h11.IDLE
        return idle and self._received == received and not self.connection.trailing_data[0]

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `Upgrade`, as a server may (RFC 9110, 7.8)."""

    async def _create_stream(self, request: h11.Request) -> None:
        accepted = request_rules.accept(request)
        if accepted is None:
            await self._send_error_response(BAD_REQUEST)
            await self.send(Closed())
            return
        request = accepted
        if not any(name == b"upgrade" for name, _ in request_rules.header_items(request)):
            await super()._create_stream(request)
        elif _is_handshake(request):
            await self._create_websocket(request)
        else:
            await super()._create_stream(_without_upgrade(request))

    async def _create_websocket(self, request: h11.Request) -> None:
        """As in Hypercorn, with our WebSocket class."""
        if not request_rules.has_websocket_key(request):
            await self._send_error(BAD_REQUEST, _NO_HANDSHAKE)
            await self.send(Closed())
            return
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
            slow_clients=self.slow_clients,
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
        if self._is_websocket and isinstance(event, Response) and _is_bare(event):
            await self._send_error(event.status_code, _NO_HANDSHAKE)
            self._has_sent_error = True
        elif _is_bare_error(event):
            stopping = self.context.terminated.is_set()
            await self._send_error_response(UNAVAILABLE if stopping else INTERNAL_ERROR)
            self._has_sent_error = True
        elif not (self._has_sent_error and isinstance(event, EndBody)):
            if isinstance(event, Response) and _is_long(event):
                self.writes.shrink_buffers()
            if isinstance(event, StreamClosed) and self._needs_reset:
                await self.writes.reset()
            await super().stream_send(event)
            if isinstance(event, EndBody):
                self.writes.restore_buffers()

    @property
    def _needs_reset(self) -> bool:
        """An HTTP/1.0 client takes the end of the connection for the end of the body."""
        return (
            not self._is_websocket
            and self.connection.our_state is h11.SEND_BODY
            and self.connection.their_http_version == b"1.0"
        )

    @property
    def _is_websocket(self) -> bool:
        return isinstance(self.stream, WSStream)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        self._pending_head += data or b""
        whole_body_follows = isinstance(event, h11.Response) and any(
            name == b"content-length" for name, _ in event.headers
        )
        if self._pending_head and not whole_body_follows:
            head, self._pending_head = self._pending_head, b""
            await self.send(RawData(head))

    async def _send_error_response(self, status_code: int) -> None:
        if status_code not in _ERRORS:  # such as 501 for an unknown transfer coding
            status_code = BAD_REQUEST
        await self._send_error(status_code, _ERRORS[status_code])

    async def _send_error(self, status_code: int, error: RequestError) -> None:
        request_id, code = uuid.uuid4().hex, error.code
        if status_code < INTERNAL_ERROR:
            fields = {
                "status": status_code,
                "code": code,
                "client": self.client[0] if self.client else None,
                "request_id": request_id,
            }
            logger.info("malformed request %s %s", status_code, code, extra=fields)
        body = orjson.dumps(error_body(error, request_id))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *encode_headers(EVERY_RESPONSE.items()),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _without_upgrade(request: h11.Request) -> h11.Request:
    """The same request without its `Upgrade` header."""
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
        http_version=request.http_version,
    )


def _is_handshake(request: h11.Request) -> bool:
    """Whether the request is a WebSocket handshake (RFC 6455, 4.1)."""
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
    """Whether Hypercorn sent this because the application failed or was cancelled."""
    return isinstance(event, Response) and event.status_code == INTERNAL_ERROR and _is_bare(event)


def _is_bare(response: Response) -> bool:
    return (b"content-length", b"0") in response.headers


def _is_long(response: Response) -> bool:
    """Whether the response is a WebSocket or an event stream."""
    return response.status_code == SWITCHING or any(
        name == b"content-type" and value.startswith(_EVENT_STREAM)
        for name, value in response.headers
    )
