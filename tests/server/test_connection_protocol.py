"""The connection protocol never takes a part of a request for a request of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypercorn.config import Config
from werkzeug.routing import Map

from service.admission.controller import AdmissionController
from service.lifecycle import Lifecycle
from service.server.connection_protocol import ConnectionProtocol
from service.server.process import listen
from service.server.shedding import LoadShedder
from service.server.slow_clients import SlowClientPolicy, UnreadResponses
from service.web.metrics.metrics import Metrics
from service.web.metrics.middleware import RequestMetrics
from service.web.metrics.route_labels import RouteLabels

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET /api/stats HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /api/records HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(GET)


def make_protocol(
    reader: asyncio.StreamReader, admission: AdmissionController
) -> ConnectionProtocol:
    return ConnectionProtocol(
        reader,
        Config(),
        LoadShedder(admission, Lifecycle(), RequestMetrics(Metrics(), RouteLabels(Map()))),
        set(),
        SlowClientPolicy(),
        UnreadResponses(2**27),
    )


async def test_body_that_looks_like_request_is_passed_on_after_its_head() -> None:
    """Also while the application has not read the head yet."""
    admission = AdmissionController(1, 0)
    assert admission.try_acquire()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = make_protocol(reader, admission)
    server_side, client = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, server_side)
    with client:
        client.setblocking(False)
        protocol.data_received(GET)
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 503 ")
        protocol.data_received(POST)
        protocol.data_received(GET)
        assert await reader.readexactly(len(POST + GET)) == POST + GET
        transport.close()
        assert await loop.sock_recv(client, 4096) == b""
    admission.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tcp_user_timeout_is_reported_as_connection_reset(run: Run) -> None:
    """The kernel reports a timeout, which Hypercorn would log as an error of the application."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        admission = AdmissionController(1, 0)
        with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
            reader = asyncio.StreamReader()
            protocol = make_protocol(reader, admission)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            writer.write(bytes(8_000_000))
            async with asyncio.timeout(60):
                with pytest.raises(ConnectionResetError):
                    await writer.drain()
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
        admission.close()

    run(main())
