"""Calls over httpx, awaited. `sync_wire.py` is the same for those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, TypeVar

import httpx

from service.client.answers import decoded
from service.client.call import Call
from service.client.errors import NotConnected, SearchClientError
from service.client.retrying import Tries
from service.client.seam import Seam, timeouts
from service.client.sse import Parser, ServerEvent

T = TypeVar("T")


class AsyncWire:
    """One service, and the connections to it."""

    def __init__(
        self, seam: Seam, timeout: float, retries: int, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.seam = seam
        self.timeout = timeout
        self._retries = retries
        self._client = httpx.AsyncClient(
            base_url=seam.url, headers=seam.headers, timeout=timeout, transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, call: Call[T]) -> T:
        """The whole answer to a call, tried again where that is safe."""
        tries = self._tries(call)
        while True:
            try:
                async with self._sent(call, tries) as response:
                    return call.read(decoded(await self._body(response, call, tries)))
            except SearchClientError as error:
                pause = tries.pause_after(error)
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def opened(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        """A response that is read as it comes: tried again until it begins, and never after."""
        tries = self._tries(call)
        async with contextlib.AsyncExitStack() as stack:
            while True:
                try:
                    response = await stack.enter_async_context(self._sent(call, tries))
                    break
                except SearchClientError as error:
                    pause = tries.pause_after(error)
                await asyncio.sleep(pause)
            yield response

    async def events(self, call: Call[Any]) -> AsyncGenerator[ServerEvent]:
        """The events of a stream; one that is an error is raised."""
        parser = Parser()
        async with self.opened(call) as response:
            self.seam.check_events(response)
            async for data in response.aiter_bytes():
                for event in parser.feed(data):
                    self.seam.check_event(event)
                    yield event

    def _tries(self, call: Call[Any]) -> Tries:
        if self._client.is_closed:
            raise NotConnected("This client is closed")
        return Tries(self._retries, self.timeout, repeatable=call.repeatable)

    @contextlib.asynccontextmanager
    async def _sent(self, call: Call[Any], tries: Tries) -> AsyncIterator[httpx.Response]:
        """One try: the response, if it is none that says no."""
        with self.seam.mapped():
            request = self._client.build_request(
                call.method,
                call.path,
                params=call.parameters,
                content=_awaited(call.body),
                headers=call.headers,
                timeout=timeouts(call, self.timeout, tries.left()),
            )
            response = await self._client.send(request, stream=True)
            async with contextlib.aclosing(response):
                if response.status_code not in call.answers_with:
                    await response.aread()
                    raise self.seam.refusal(response)
                yield response

    async def _body(self, response: httpx.Response, call: Call[Any], tries: Tries) -> bytes:
        """All of it, for as long as there is time."""
        pieces = []
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            if not call.long:
                tries.left()
        return b"".join(pieces)


Content = bytes | Iterator[bytes] | AsyncIterator[bytes] | None


def _awaited(body: Content) -> bytes | AsyncIterator[bytes] | None:
    """A body whose pieces come from files or from somebody's code: in a thread, as it may take."""
    return _in_threads(body) if isinstance(body, Iterator) else body


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
