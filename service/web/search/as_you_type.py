"""Search as you type: a WebSocket over which one search follows the other.

Each newer search takes the place of the one before, which is given up, down to the calls upstream
that nobody else waits for. A search that is followed by another one within a moment is not begun at
all. Knows nothing of who may come in, nor of how a connection is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import Protocol

from quart import Blueprint, g
from quart.globals import websocket_ctx

from service.admission.controller import AdmissionController
from service.errors import InvalidField, RequestError
from service.retrieval.deadline import Deadline
from service.retrieval.query import Mode
from service.web.search.as_you_type_messages import (
    PONG,
    Message,
    error_message,
    mode_of,
    read_message,
    results_message,
    search_of,
    seq_of,
)
from service.web.search.caching import DEFAULT_DIRECTIVES
from service.web.search.parsing import ParsedSearch
from service.web.search.progress import ProgressEncoder
from service.web.search.service import SearchService
from service.web.validation import invalid

PATH = "/api/search/ws"
MOST_BAD = 20  # messages, one after the other, that are not understood
IDLE_S = 3600.0  # without any search

DONE, NOT_TEXT, UNWELCOME = 1000, 1003, 1008


class Wire(Protocol):
    """What a session needs of its WebSocket."""

    async def receive(self) -> str | bytes: ...

    async def send(self, data: str) -> None: ...

    async def close(self, code: int, reason: str = "") -> None: ...


def socket_blueprint(
    searchings: Mapping[Mode, SearchService], admission: AdmissionController, pause_s: float
) -> Blueprint:
    """The route of searches as one types."""
    blueprint = Blueprint("socket", __name__)

    @blueprint.websocket(PATH)
    async def search() -> None:
        wire = websocket_ctx.websocket
        await SearchSession(wire, searchings, admission, pause_s, g.get("tenant", "")).run()

    return blueprint


class SearchSession:
    """One connection: it is read here, while at most one search speaks."""

    def __init__(
        self,
        wire: Wire,
        searchings: Mapping[Mode, SearchService],
        admission: AdmissionController,
        pause_s: float,
        tenant: str,
        idle_s: float = IDLE_S,
    ) -> None:
        self._wire = wire
        self._searchings = searchings
        self._admission = admission
        self._pause_s = pause_s
        self._tenant = tenant
        self._idle_s = idle_s
        self._last_seq = -1
        self._searching: asyncio.Task[None] | None = None
        self._does: dict[str, Callable[[Message], Awaitable[None]]] = {
            "search": self._search,
            "cancel": self._cancel,
            "ping": self._pong,
            "hello": self._hello,
        }

    async def run(self) -> None:
        """Until either side has enough of it."""
        async with asyncio.TaskGroup() as self._tasks:  # a search that fails ends all of it
            try:
                code, reason = await self._listen()
            finally:
                await self._give_up()
            await self._wire.close(code, reason)

    async def _listen(self) -> tuple[int, str]:
        """Do as is said, until there is a reason to close."""
        now = asyncio.get_running_loop().time
        self._searched_at = now()
        bad = 0
        while bad < MOST_BAD:
            try:
                async with asyncio.timeout_at(self._searched_at + self._idle_s):
                    text = await self._wire.receive()
            except TimeoutError:
                return DONE, "nothing was searched for in a long time"
            if not isinstance(text, str):
                return NOT_TEXT, "messages are text"
            bad = 0 if await self._hear(text) else bad + 1
        return UNWELCOME, "too many messages were not understood"

    async def _hear(self, text: str) -> bool:
        """Whether the message was understood."""
        message: Message = {}
        try:
            message = read_message(text)
            do = self._does.get(str(message.get("type")))
            if do is None:
                raise invalid(InvalidField(("type",), f"must be one of {', '.join(self._does)}"))
            await do(message)
        except RequestError as error:
            await self._say(error_message(error, message))
            return False
        return True

    async def _search(self, message: Message) -> None:
        seq = seq_of(message)
        if seq <= self._last_seq:
            fault = f"must be greater than the last one, which was {self._last_seq}"
            raise invalid(InvalidField(("seq",), fault))
        self._last_seq = seq
        self._searched_at = asyncio.get_running_loop().time()
        await self._give_up()
        searching = self._searchings[mode_of(message)]
        asked = searching.asking.understand(search_of(message))
        searching.asking.check(asked)
        self._searching = self._tasks.create_task(self._tell(seq, searching, asked))

    async def _cancel(self, message: Message) -> None:
        """One that is over, or that another one has taken the place of, is cancelled already."""
        if seq_of(message) == self._last_seq:
            await self._give_up()

    async def _pong(self, _: Message) -> None:
        await self._say(PONG)

    async def _hello(self, _: Message) -> None:
        """Whoever is in here was let in; that may have been without."""

    async def _give_up(self) -> None:
        """See to it that nothing more is said of the search that is under way, if one is."""
        if self._searching is not None:
            self._searching.cancel()
            await asyncio.wait([self._searching])
            self._searching = None

    async def _tell(self, seq: int, searching: SearchService, asked: ParsedSearch) -> None:
        """Search, unless something newer comes in a moment, and tell how it gets on."""
        await asyncio.sleep(self._pause_s)
        deadline = Deadline(asked.timeout_ms / 1000)
        progress = ProgressEncoder(searching, asked.query)
        try:
            with closing(
                searching.follow(asked, self._tenant, deadline, DEFAULT_DIRECTIVES)
            ) as news:
                async with self._admission.slot():  # as a request has it: until there is an answer
                    first = await anext(news)
                await self._say(results_message(seq, progress.told(first)[1]))
                async for each in news:
                    await self._say(results_message(seq, progress.told(each)[1]))
        except RequestError as error:
            await self._say(error_message(error, {"seq": seq}))

    async def _say(self, message: bytes) -> None:
        """Returns when there is room for more, so that at most one message waits for that."""
        await self._wire.send(message.decode())
