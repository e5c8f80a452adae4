"""What is in the middle of a request is never taken for another one."""

from __future__ import annotations

import asyncio
import socket

from hypercorn.config import Config

from service.admission.places import Places
from service.lifecycle import Lifecycle
from service.patience import Patience
from service.receiver import Receiver
from service.web.shedding import Shedder

GET = b"GET /api/stats HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /api/records HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(GET)


async def test_a_body_that_looks_like_a_request_is_passed_on_behind_its_head() -> None:
    """Even while nobody has read the head yet."""
    places = Places(1, 0)
    assert places.take()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    receiver = Receiver(reader, Config(), Shedder(places, Lifecycle()), set(), Patience())
    ours, theirs = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(lambda: receiver, ours)
    with theirs:
        theirs.setblocking(False)
        receiver.data_received(GET)
        assert (await loop.sock_recv(theirs, 4096)).startswith(b"HTTP/1.1 503 ")
        receiver.data_received(POST)
        receiver.data_received(GET)
        assert await reader.readexactly(len(POST + GET)) == POST + GET
        transport.close()
        assert await loop.sock_recv(theirs, 4096) == b""
    places.close()
