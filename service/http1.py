"""Hypercorn's HTTP/1.1 connection, with two things of our own.

- A request that is no HTTP at all is answered in the shape of every other error.
- HTTP/2 over cleartext is not spoken: neither by `Upgrade: h2c` nor by prior knowledge, since behind
  a proxy both are a way around its rules.

Hypercorn offers no place for either, so this overrides methods that are not part of its documented
interface; the version is pinned, and tests hold each of them down (docs/decisions/0003).
"""

from __future__ import annotations

import uuid

import h11
import orjson
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

HTTP_VERSION_NOT_SUPPORTED = 505

_SENTENCES = {
    431: ("headers_too_large", "The request line and headers are larger than this service takes"),
    HTTP_VERSION_NOT_SUPPORTED: ("http_version", "This service speaks HTTP/1.1"),
}
_MALFORMED = ("malformed_request", "The request is not valid HTTP/1.1")


class StrictH11(H11Protocol):
    """HTTP/1.1 and WebSocket, nothing else."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Upgrade to nothing: a server may ignore `Upgrade`."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in {b"1.0", b"1.1"}:
            await self._send_error_response(HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())
            return
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        code, detail = _SENTENCES.get(status_code, _MALFORMED)
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


class Connection(TCPServer):
    """One connection, from accept to close."""

    async def _read_data(self) -> None:
        made = self.protocol.protocol
        self.protocol.protocol = StrictH11(
            made.app,
            made.config,
            made.context,
            made.task_group,
            made.connection_state,
            made.ssl,
            made.client,
            made.server,
            made.send,
        )
        await super()._read_data()
