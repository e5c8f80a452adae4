"""A WebSocket that the server has closed before the application knows."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.events import Data, Event, Request, StreamClosed
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app
from wsproto import ConnectionType
from wsproto.connection import Connection as WebSocketCodec
from wsproto.events import CloseConnection

from service.server.slow_clients import SlowClientPolicy
from service.server.websocket import WebSocketStream

HANDSHAKE = Request(
    stream_id=1,
    headers=[
        (b"host", b"h"),
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    http_version="1.1",
    method="GET",
    raw_path=b"/",
    state=ConnectionState(LifespanState({})),
)
UNMASKED_FRAME = b"\x81\x02{}"


async def test_message_to_websocket_that_was_closed_for_invalid_frame_is_dropped() -> None:
    """An application may be about to send one when the invalid frame arrives."""
    sent: list[Event] = []
    accepted, ended = asyncio.Event(), asyncio.Event()
    outcomes: list[str] = []

    async def send(event: Event) -> None:
        sent.append(event)

    async def app(_: Any, receive: Any, send_message: Any) -> None:
        await receive()
        await send_message({"type": "websocket.accept"})
        accepted.set()
        outcomes.append((await receive())["type"])
        try:
            await send_message({"type": "websocket.send", "text": "late"})
            await send_message({"type": "websocket.close", "code": 1000})
            outcomes.append("sent")
        finally:
            ended.set()

    config, context = Config(), WorkerContext(None)
    async with TaskGroup(asyncio.get_running_loop()) as tasks:
        stream = WebSocketStream(
            wrap_app(app, 0, "asgi"),
            config,
            context,
            tasks,
            False,
            None,
            None,
            send,
            1,
            slow_clients=SlowClientPolicy(),
        )
        await stream.handle(HANDSHAKE)
        await accepted.wait()
        await stream.handle(Data(stream_id=1, data=UNMASKED_FRAME))
        await ended.wait()
        await stream.handle(StreamClosed(stream_id=1))
    assert outcomes == ["websocket.disconnect", "sent"]
    codec = WebSocketCodec(ConnectionType.CLIENT)
    codec.receive_data(b"".join(event.data for event in sent if isinstance(event, Data)))
    (close,) = codec.events()
    assert isinstance(close, CloseConnection)
    assert close.code == 1002
