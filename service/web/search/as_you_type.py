"""Search as you type: a WebSocket on which each search replaces the previous one.

A replaced search is cancelled, down to its upstream calls, unless another client waits for the same
answer. A search that is replaced within a short pause is never started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Protocol

from quart import Blueprint, g, websocket

from service.access.grant import Grant
from service.access.limiting.account import Account
from service.admission.controller import AdmissionController
from service.errors import RateLimited, RequestError
from service.retrieval.deadline import Deadline
from service.web.authentication import requires
from service.web.request_context import unwrap
from service.web.search.caching import DEFAULT_DIRECTIVES
from service.web.search.charging import give_back_if_cached
from service.web.search.messages import (
    PONG,
    Message,
    decode_message,
    error_message,
    read_mode,
    read_search,
    read_seq,
    results_message,
)
from service.web.search.parsing import ParsedSearch, RequestParser
from service.web.search.progress import ProgressEncoder
from service.web.search.service import SearchService
from service.web.validation import invalid_field

PATH = "/api/search/ws"
MAX_CONSECUTIVE_ERRORS = 20
IDLE_TIMEOUT_S = 3600.0  # without a search

OnSearch = Callable[[ParsedSearch], None]
"""Called with each search, in its context, when it starts."""

# Close codes (RFC 6455, section 7.4.1).
NORMAL, UNSUPPORTED_DATA, POLICY_VIOLATION = 1000, 1003, 1008


class SupportsWebSocket(Protocol):
    async def receive(self) -> str | bytes: ...

    async def send(self, data: str) -> None: ...

    async def close(self, code: int, reason: str = "") -> None: ...


def websocket_blueprint(
    parser: RequestParser,
    service: SearchService,
    admission: AdmissionController,
    pause_s: float,
    on_search: OnSearch,
) -> Blueprint:
    blueprint = Blueprint("socket", __name__)

    @blueprint.websocket(PATH)
    @requires("search")
    async def search() -> None:
        connection = unwrap(websocket)
        await SearchSession(
            connection, parser, service, admission, pause_s, g.grant, g.account, on_search
        ).run()

    return blueprint


class SearchSession:
    """One connection: a loop that reads messages, and at most one task that searches."""

    def __init__(
        self,
        websocket: SupportsWebSocket,
        parser: RequestParser,
        service: SearchService,
        admission: AdmissionController,
        pause_s: float,
        grant: Grant,
        account: Account,
        on_search: OnSearch = lambda _: None,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._websocket = websocket
        self._parser = parser
        self._service = service
        self._admission = admission
        self._pause_s = pause_s
        self._grant = grant
        self._account = account
        self._announce = on_search
        self._idle_timeout_s = idle_timeout_s
        self._last_seq = -1
        self._search: asyncio.Task[None] | None = None
        self._handlers: dict[str, Callable[[Message], Awaitable[None]]] = {
            "search": self._on_search,
            "cancel": self._on_cancel,
            "ping": self._on_ping,
            "hello": self._on_hello,
        }

    async def run(self) -> None:
        """Serve the connection until either side closes it."""
        async with asyncio.TaskGroup() as self._tasks:  # an exception in a search ends the session
            try:
                code, reason = await self._read_messages()
            finally:
                await self._cancel_search()
            await self._websocket.close(code, reason)

    async def _read_messages(self) -> tuple[int, str]:
        """Handle messages until there is a reason to close."""
        self._searched_at = asyncio.get_running_loop().time()
        errors = 0
        while errors < MAX_CONSECUTIVE_ERRORS:
            try:
                async with asyncio.timeout_at(self._searched_at + self._idle_timeout_s):
                    text = await self._websocket.receive()
            except TimeoutError:
                return NORMAL, "the connection was idle for too long"
            if not isinstance(text, str):
                return UNSUPPORTED_DATA, "only text messages are supported"
            errors = 0 if await self._handle(text) else errors + 1
        return POLICY_VIOLATION, "too many invalid messages in a row"

    async def _handle(self, text: str) -> bool:
        """Returns whether the message was valid."""
        message: Message = {}
        try:
            message = decode_message(text)
            handler = self._handlers.get(str(message.get("type")))
            if handler is None:
                raise invalid_field("type", f"must be one of {', '.join(self._handlers)}")
            await handler(message)
        except RequestError as error:
            await self._send(error_message(error, message))
            return isinstance(error, RateLimited)
        return True

    async def _on_search(self, message: Message) -> None:
        """Replace the current search; an invalid message leaves it running."""
        seq = read_seq(message)
        if seq <= self._last_seq:
            raise invalid_field("seq", f"must be greater than the previous one, {self._last_seq}")
        search = self._parser.resolve(read_mode(message), read_search(message), self._grant)
        self._service.check_support(search)
        await self._account.take()
        self._last_seq = seq
        self._searched_at = asyncio.get_running_loop().time()
        await self._cancel_search()
        self._search = self._tasks.create_task(self._run_search(seq, search))

    async def _on_cancel(self, message: Message) -> None:
        """Ignores searches that have ended or were replaced."""
        if read_seq(message) == self._last_seq:
            await self._cancel_search()

    async def _on_ping(self, _: Message) -> None:
        await self._send(PONG)

    async def _on_hello(self, _: Message) -> None:
        """Ignored: the client is authenticated already, or no key is required."""

    async def _cancel_search(self) -> None:
        """Once this returns, no more results of the current search are sent."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait([self._search])
            self._search = None

    async def _run_search(self, seq: int, search: ParsedSearch) -> None:
        """Search after the pause, and send the results of each stage."""
        await asyncio.sleep(self._pause_s)
        self._announce(search)
        deadline = Deadline(search.timeout_ms / 1000)
        encoder = ProgressEncoder(self._service, search, deadline)
        try:
            with closing(
                self._service.subscribe(search, deadline, DEFAULT_DIRECTIVES, self._account)
            ) as subscription:
                async with self._admission.slot():  # until the first results, like a request
                    first = await anext(subscription)
                give_back_if_cached(self._account, first)
                await self._send(results_message(seq, (await encoder.encode(first))[1]))
                async for item in subscription:
                    give_back_if_cached(self._account, item)
                    await self._send(results_message(seq, (await encoder.encode(item))[1]))
        except RequestError as error:
            await self._send(error_message(error, {"seq": seq}))

    async def _send(self, message: bytes) -> None:
        """Returns when the connection has room for more, so at most one message waits here."""
        await self._websocket.send(message.decode())
