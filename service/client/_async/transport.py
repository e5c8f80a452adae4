"""Sends calls with httpx, retries them, and parses their responses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

import httpx

from service.client import async_io
from service.client.call import JSON, Call
from service.client.error_mapping import ErrorMapping, check_key, check_url
from service.client.errors import NotConnected, SearchClientError
from service.client.responses import decode_json
from service.client.retries import RetryState
from service.client.sse import EventParser, ServerSentEvent

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0


class AsyncTransport:
    """The connections to one service."""

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout_s: float,
        retries: int,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        url, key = check_url(url), check_key(key)
        headers = {"Accept": JSON, "User-Agent": "cascade-client"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self.url = url
        self.timeout_s = timeout_s
        self.errors = ErrorMapping(url, key)
        self._retries = retries
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def request(self, call: Call[T]) -> T:
        """The parsed response."""
        retries = self._retry_state(call)
        while True:
            try:
                async with self._send(call, retries) as response:
                    return call.parse(decode_json(await _read_body(response, call, retries)))
            except SearchClientError as error:
                delay = retries.delay_after(error)
            await async_io.sleep(delay)

    @contextlib.asynccontextmanager
    async def stream(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        """A response whose body is not read yet. Nothing is retried once it has begun."""
        retries = self._retry_state(call)
        async with contextlib.AsyncExitStack() as stack:
            while True:
                try:
                    response = await stack.enter_async_context(self._send(call, retries))
                    break
                except SearchClientError as error:
                    delay = retries.delay_after(error)
                await async_io.sleep(delay)
            yield response

    async def events(self, call: Call[Any]) -> AsyncGenerator[ServerSentEvent]:
        """The events of a stream. Raises the error of an `error` event."""
        parser = EventParser()
        async with self.stream(call) as response:
            self.errors.check_event_stream(response)
            async for data in response.aiter_bytes():
                for event in parser.feed(data):
                    self.errors.raise_error_event(event)
                    yield event

    def _retry_state(self, call: Call[Any]) -> RetryState:
        if self._client.is_closed:
            raise NotConnected("This client is closed")
        return RetryState(self._retries, self.timeout_s, is_idempotent=call.is_idempotent)

    @contextlib.asynccontextmanager
    async def _send(self, call: Call[Any], retries: RetryState) -> AsyncIterator[httpx.Response]:
        """One attempt: the response, if its status is a success."""
        with self.errors.map_exceptions():
            request = self._client.build_request(
                call.method,
                call.path,
                params=call.parameters,
                content=async_io.request_body(call.body),
                headers=call.headers,
                timeout=self._timeouts(call, retries.remaining_s()),
            )
            response = await self._client.send(request, stream=True)
            async with contextlib.aclosing(response):
                if response.status_code not in call.success_statuses:
                    await response.aread()
                    raise self.errors.from_response(response)
                yield response

    def _timeouts(self, call: Call[Any], remaining_s: float) -> httpx.Timeout:
        step = self.timeout_s if call.is_streaming else remaining_s
        return httpx.Timeout(
            step,
            read=call.read_timeout_s or step,
            connect=min(remaining_s, CONNECT_TIMEOUT_S),
            pool=remaining_s,
        )


async def _read_body(response: httpx.Response, call: Call[Any], retries: RetryState) -> bytes:
    """The whole body, within the call's deadline unless it is a streaming call."""
    pieces = []
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        if not call.is_streaming:
            retries.remaining_s()
    return b"".join(pieces)
