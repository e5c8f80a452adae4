"""One search over the WebSocket, with the key as the first message."""

from __future__ import annotations

import asyncio
import json

from quart import Quart

from service.web.search.as_you_type import PATH
from tests.tenants.requests import SEARCHES, Attempt
from tests.web.websocket_client import WebsocketDisconnectError

MODES = dict(zip(SEARCHES, ("semantic", "lexical", "cascading"), strict=True))
STATUSES = {"forbidden": 403, "key_rejected": 401, "key_missing": 401}
POLICY_VIOLATION = 1008
CLOSED = 0  # instead of a status: the connection was closed


async def search_over_socket(app: Quart, key: str | None, attempt: Attempt) -> tuple[int, str]:
    """Returns the status that the same search has over HTTP, and all that was received.

    A connection that is closed by policy stands for 401, or for 403 if its key is valid.
    """
    told = ""
    hello = {"type": "hello", "key": key or "no key at all, but a text"}
    search = {"type": "search", "seq": 1, "mode": MODES[attempt.path], **attempt.body}
    async with app.test_client().websocket(PATH) as connection, asyncio.timeout(60):
        await connection.send(json.dumps(hello))
        await connection.send(json.dumps(search))
        try:
            while True:
                message = await connection.receive()
                told += str(message)
                received = json.loads(message)
                if received["type"] == "error":
                    return STATUSES[received["code"]], told
                if received["stage"] == "done":
                    return 200, told
        except WebsocketDisconnectError as closed:
            assert closed.args[0] == POLICY_VIOLATION  # noqa: PT017
            return CLOSED, told
