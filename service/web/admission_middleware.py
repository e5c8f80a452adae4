"""ASGI middleware that admits a bounded number of requests to the app at once.

The others wait in the admission queue, or are rejected with 503 and `Retry-After` before they
reach Quart: an error response through the app costs half as much as a search. As the middleware
wraps the app, it works wherever the app is mounted. Probes and documentation are always admitted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from service.admission.controller import AdmissionController
from service.admission.queue import Ticket
from service.admission.transfer_limit import TransferLimit
from service.errors import Overloaded
from service.lifecycle import Lifecycle
from service.web.asgi import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    drain_body,
    encode_headers,
    header_value,
    route_path,
)
from service.web.errors import rejection
from service.web.request_context import QUEUE_TIME_KEY

API_PREFIX = "/api/"
DOCUMENTATION = {"/api/docs", "/api/openapi.json"}
EVENTS = ("/api/imports/", "/events")  # an EventSource does not retry after a 503
BODY_HEADERS = {b"content-length", b"transfer-encoding"}
ADMITTED_KEY = "cascade.admitted"  # in the ASGI scope: the `AdmittedRequest`

SLOW_BODY_S = 0.1
MAX_BUFFERED_BYTES = 65_536  # of a body, while its request is queued


def needs_slot(path: str) -> bool:
    """Whether a request to this path does work, and so needs a slot."""
    if not path.startswith(API_PREFIX) or path in DOCUMENTATION:
        return False
    return not (path.startswith(EVENTS[0]) and path.endswith(EVENTS[1]))


class AdmissionMiddleware:
    def __init__(self, app: ASGIApp, admission: AdmissionController, lifecycle: Lifecycle) -> None:
        self._app = app
        self._admission = admission
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not needs_slot(route_path(scope)):
            await self._app(scope, receive, send)
            return
        has_body = any(name in BODY_HEADERS for name, _ in scope["headers"])
        arrived = time.perf_counter()
        try:
            if not self._admission.try_acquire():
                buffered = BufferedReceive(receive)
                if not await self._wait_for_slot(buffered):
                    return  # the client has disconnected
                receive = buffered.receive
                scope = {**scope, QUEUE_TIME_KEY: time.perf_counter() - arrived}
        except Overloaded as error:
            if has_body:
                await drain_body(receive)
            await self._reject(error, scope, send, time.perf_counter() - arrived)
            return
        request = AdmittedRequest(self._admission, receive, send)
        scope[ADMITTED_KEY] = request
        try:
            await self._app(scope, request.receive if has_body else receive, request.send)
        finally:
            request.finish()

    async def _wait_for_slot(self, buffered: BufferedReceive) -> bool:
        """Returns False if the client disconnects first."""
        ticket = self._admission.enqueue()
        watcher = asyncio.create_task(buffered.watch_disconnect(ticket, self._admission))
        try:
            return await ticket
        except BaseException:
            self._admission.abandon(ticket)
            raise
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])

    async def _reject(self, error: Overloaded, scope: Scope, send: Send, seconds: float) -> None:
        sent_id = header_value(scope, b"x-request-id")
        headers, body = rejection(error, sent_id, seconds, self._lifecycle)
        raw = encode_headers(headers.items())
        await send({"type": "http.response.start", "status": error.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def convert_to_transfer(scope: Scope, transfers: TransferLimit) -> None:
    """Count the request as a long transfer from now on, and release its slot.

    A transfer takes long but needs little at a time. It is counted until the app has finished the
    request. Raises `Overloaded` beyond the limit.
    """
    request: AdmittedRequest | None = scope.get(ADMITTED_KEY)
    if request is not None:
        request.convert_to_transfer(transfers)


class BufferedReceive:
    """Receives messages while the request is queued, and replays them later."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer: deque[Message] = deque()

    async def watch_disconnect(self, ticket: Ticket, admission: AdmissionController) -> None:
        """Leave the queue as soon as the client disconnects."""
        size = 0
        while size < MAX_BUFFERED_BYTES:
            message = await self._receive()
            self._buffer.append(message)
            if message["type"] == "http.disconnect":
                admission.leave_queue(ticket)
                return
            size += len(message.get("body", b""))

    async def receive(self) -> Message:
        return self._buffer.popleft() if self._buffer else await self._receive()


class AdmittedRequest:
    """A request with a slot, until its response starts or it becomes a transfer.

    While the client is slow to send the body, the slot is lent to other requests.
    """

    def __init__(self, admission: AdmissionController, receive: Receive, send: Send) -> None:
        self._admission = admission
        self._receive = receive
        self._send = send
        self._body_is_arriving = True
        self._is_lent = False
        self._is_released = False
        self._transfers: TransferLimit | None = None

    async def receive(self) -> Message:
        if not self._body_is_arriving or self._is_released:
            return await self._receive()
        if self._is_lent:  # until the body is complete: a slow client would need it again and again
            message = await self._receive()
        else:
            lending = asyncio.get_running_loop().call_later(SLOW_BODY_S, self._lend)
            try:
                message = await self._receive()
            finally:
                lending.cancel()
        self._body_is_arriving = message.get("more_body", False)
        if not self._body_is_arriving:
            self._reclaim()
        return message

    async def send(self, message: Message) -> None:
        self._release()
        await self._send(message)

    def convert_to_transfer(self, transfers: TransferLimit) -> None:
        transfers.begin()
        self._transfers = transfers
        self._release()

    def finish(self) -> None:
        self._release()
        if self._transfers is not None:
            self._transfers.end()

    def _release(self) -> None:
        if not self._is_released:
            self._is_released = True
            if self._is_lent:
                self._reclaim()
            else:
                self._admission.release()

    def _lend(self) -> None:
        if not self._is_released:
            self._is_lent = self._admission.lend()

    def _reclaim(self) -> None:
        if self._is_lent:
            self._is_lent = False
            self._admission.reclaim(needed=not self._is_released)
