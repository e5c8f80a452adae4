# Generated from service/client/_async/transport.py by `make generated`; do not edit.
"""Sends calls with httpx, retries them, and parses their responses."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import httpx

from service.client import sync_io
from service.client.call import JSON, Call
from service.client.error_mapping import ErrorMapping, check_key, check_url
from service.client.errors import NotConnected, SearchClientError
from service.client.responses import decode_json
from service.client.retries import RetryState
from service.client.sse import EventParser, ServerSentEvent

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0


class Transport:
    """The connections to one service."""

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout_s: float,
        retries: int,
        transport: httpx.BaseTransport | None,
    ) -> None:
        url, key = check_url(url), check_key(key)
        headers = {"Accept": JSON, "User-Agent": "cascade-client"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self.url = url
        self.timeout_s = timeout_s
        self.errors = ErrorMapping(url, key)
        self._retries = retries
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

    def close(self) -> None:
        self._client.close()

    def request(self, call: Call[T]) -> T:
        """The parsed response."""
        retries = self._retry_state(call)
        while True:
            try:
                with self._send(call, retries) as response:
                    return call.parse(decode_json(_read_body(response, call, retries)))
            except SearchClientError as error:
                delay = retries.delay_after(error)
            sync_io.sleep(delay)

    @contextlib.contextmanager
    def stream(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """A response whose body is not read yet. Nothing is retried once it has begun."""
        retries = self._retry_state(call)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    response = stack.enter_context(self._send(call, retries))
                    break
                except SearchClientError as error:
                    delay = retries.delay_after(error)
                sync_io.sleep(delay)
            yield response

    def events(self, call: Call[Any]) -> Generator[ServerSentEvent]:
        """The events of a stream. Raises the error of an `error` event."""
        parser = EventParser()
        with self.stream(call) as response:
            self.errors.check_event_stream(response)
            for data in response.iter_bytes():
                for event in parser.feed(data):
                    self.errors.raise_error_event(event)
                    yield event

    def _retry_state(self, call: Call[Any]) -> RetryState:
        if self._client.is_closed:
            raise NotConnected("This client is closed")
        return RetryState(self._retries, self.timeout_s, is_idempotent=call.is_idempotent)

    @contextlib.contextmanager
    def _send(self, call: Call[Any], retries: RetryState) -> Iterator[httpx.Response]:
        """One attempt: the response, if its status is a success."""
        with self.errors.map_exceptions():
            request = self._client.build_request(
                call.method,
                call.path,
                params=call.parameters,
                content=sync_io.request_body(call.body),
                headers=call.headers,
                timeout=self._timeouts(call, retries.remaining_s()),
            )
            response = self._client.send(request, stream=True)
            with contextlib.closing(response):
                if response.status_code not in call.success_statuses:
                    response.read()
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


def _read_body(response: httpx.Response, call: Call[Any], retries: RetryState) -> bytes:
    """The whole body, within the call's deadline unless it is a streaming call."""
    pieces = []
    for piece in response.iter_bytes():
        pieces.append(piece)
        if not call.is_streaming:
            retries.remaining_s()
    return b"".join(pieces)
