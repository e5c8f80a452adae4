"""The gate in front of the app: it lets in as many requests as are worked on at once.

The others wait in front of it, or are sent away with 503 and `Retry-After` before anything was done
for them: through the app, an error costs half as much as a search. It is ASGI, so it is there too
where the app is mounted in another one. Whoever only asks how things are is never held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from service.admission.controller import AdmissionController
from service.admission.queue import Ticket
from service.admission.transfer_limit import TransferLimit
from service.errors import Overloaded
from service.lifecycle import Lifecycle
from service.web.refusal import rejection
from service.web.request_context import QUEUED

WORK = "/api/"
NO_WORK = {"/api/docs", "/api/openapi.json"}
LISTENING = ("/api/imports/", "/events")  # an EventSource that is sent away never comes back
BODY = {b"content-length", b"transfer-encoding"}

LEAVE = "cascade.leave"  # in a scope: `AdmittedRequest.leave` of the request

SLOW_BODY_S = 0.1
HEARD_BYTES = 65_536  # of a body, while its request waits

App = Callable[[Any, Any, Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def needs_slot(path: str) -> bool:
    """Whether a request to this path has to be worked on. To listen is none."""
    if not path.startswith(WORK) or path in NO_WORK:
        return False
    return not (path.startswith(LISTENING[0]) and path.endswith(LISTENING[1]))


class AdmissionMiddleware:
    """`app`, for as many requests at once as there are admission."""

    def __init__(self, app: App, admission: AdmissionController, lifecycle: Lifecycle) -> None:
        self._app = app
        self._admission = admission
        self._lifecycle = lifecycle

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not needs_slot(_path(scope)):
            await self._app(scope, receive, send)
            return
        has_body = any(name in BODY for name, _ in scope["headers"])
        arrived = time.perf_counter()
        try:
            if not self._admission.try_acquire():
                heard = BufferedReceive(receive)
                if not await self._turn(heard):
                    return  # whoever asked has hung up
                receive = heard.receive
                scope = {**scope, QUEUED: time.perf_counter() - arrived}
        except Overloaded as error:
            if has_body:
                await _drain_body(receive)
            await self._send_away(error, scope, send, time.perf_counter() - arrived)
            return
        visit = AdmittedRequest(self._admission, receive, send)
        scope[LEAVE] = visit.leave
        try:
            await self._app(scope, visit.receive if has_body else receive, visit.send)
        finally:
            visit.over()

    async def _turn(self, heard: BufferedReceive) -> bool:
        """Whether there is a place now; if not, the client has gone."""
        turn = self._admission.enqueue()
        listening = asyncio.create_task(heard.listen(turn, self._admission))
        try:
            return await turn
        except BaseException:
            self._admission.abandon(turn)
            raise
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _send_away(self, error: Overloaded, scope: Any, send: Send, seconds: float) -> None:
        given_id = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin1")
        headers, body = rejection(error, given_id, seconds, self._lifecycle)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": error.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def leave(scope: Any, transfers: TransferLimit) -> None:
    """What is begun takes long, and asks for little at a time: it needs no place among others.

    It is one of `transfers` from now on, until the app is done with the request, however that ends.
    `Overloaded` where there are enough of them.
    """
    if (move := scope.get(LEAVE)) is not None:
        move(transfers)


class BufferedReceive:
    """What a client sends while its request waits is heard, and passed on later."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._heard: deque[Any] = deque()

    async def listen(self, turn: Ticket, admission: AdmissionController) -> None:
        """Leave the line as soon as the client hangs up."""
        size = 0
        while size < HEARD_BYTES:
            message = await self._receive()
            self._heard.append(message)
            if message["type"] == "http.disconnect":
                admission.leave_queue(turn)
                return
            size += len(message.get("body", b""))

    async def receive(self) -> Any:
        return self._heard.popleft() if self._heard else await self._receive()


class AdmittedRequest:
    """One request at its place, which it has until it begins to answer, or leaves it before.

    While its client is slow to send the body, somebody else may have the place.
    """

    def __init__(self, admission: AdmissionController, receive: Receive, send: Send) -> None:
        self._admission = admission
        self._receive = receive
        self._send = send
        self._arriving = True
        self._lent = False
        self._over = False
        self._among: TransferLimit | None = None

    async def receive(self) -> Any:
        """The next message of a client that has a body to send."""
        if not self._arriving or self._over:
            return await self._receive()
        lending = asyncio.get_running_loop().call_later(SLOW_BODY_S, self._lend)
        try:
            message = await self._receive()
        finally:
            lending.cancel()
            self._take_back()
        self._arriving = message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        self.end()
        await self._send(message)

    def end(self) -> None:
        if not self._over:
            self._over = True
            if not self._lent:
                self._admission.release()

    def leave(self, transfers: TransferLimit) -> None:
        """Go on among those, and leave the place to others."""
        transfers.begin()
        self._among = transfers
        self.end()

    def over(self) -> None:
        """The app is done with it."""
        self.end()
        if self._among is not None:
            self._among.end()

    def _lend(self) -> None:
        if not self._over:
            self._lent = self._admission.lend()

    def _take_back(self) -> None:
        if self._lent:
            self._lent = False
            self._admission.reclaim(needed=not self._over)


def _path(scope: Any) -> str:
    """The path inside of this app, wherever it is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _drain_body(receive: Receive) -> None:
    """Whoever is interrupted while sending may never read the answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SLOW_BODY_S):
            while size < HEARD_BYTES and (message := await receive()).get("more_body", False):
                size += len(message["body"])
