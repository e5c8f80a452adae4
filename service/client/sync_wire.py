"""Calls over httpx, one after the other. `async_wire.py` is the same for those who await."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import httpx

from service.client.answers import decoded
from service.client.call import Call
from service.client.errors import NotConnected, SearchClientError
from service.client.retrying import Tries
from service.client.seam import Seam, timeouts
from service.client.sse import Parser, ServerEvent

T = TypeVar("T")


class Wire:
    """One service, and the connections to it."""

    def __init__(
        self, seam: Seam, timeout: float, retries: int, transport: httpx.BaseTransport | None
    ) -> None:
        self.seam = seam
        self.timeout = timeout
        self._retries = retries
        self._client = httpx.Client(
            base_url=seam.url, headers=seam.headers, timeout=timeout, transport=transport
        )

    def close(self) -> None:
        self._client.close()

    def ask(self, call: Call[T]) -> T:
        """The whole answer to a call, tried again where that is safe."""
        tries = self._tries(call)
        while True:
            try:
                with self._sent(call, tries) as response:
                    return call.read(decoded(self._body(response, call, tries)))
            except SearchClientError as error:
                pause = tries.pause_after(error)
            time.sleep(pause)

    @contextlib.contextmanager
    def opened(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """A response that is read as it comes: tried again until it begins, and never after."""
        tries = self._tries(call)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    response = stack.enter_context(self._sent(call, tries))
                    break
                except SearchClientError as error:
                    pause = tries.pause_after(error)
                time.sleep(pause)
            yield response

    def events(self, call: Call[Any]) -> Generator[ServerEvent]:
        """The events of a stream; one that is an error is raised."""
        parser = Parser()
        with self.opened(call) as response:
            self.seam.check_events(response)
            for data in response.iter_bytes():
                for event in parser.feed(data):
                    self.seam.check_event(event)
                    yield event

    def _tries(self, call: Call[Any]) -> Tries:
        if self._client.is_closed:
            raise NotConnected("This client is closed")
        return Tries(self._retries, self.timeout, repeatable=call.repeatable)

    @contextlib.contextmanager
    def _sent(self, call: Call[Any], tries: Tries) -> Iterator[httpx.Response]:
        """One try: the response, if it is none that says no."""
        with self.seam.mapped():
            request = self._client.build_request(
                call.method,
                call.path,
                params=call.parameters,
                content=call.body,
                headers=call.headers,
                timeout=timeouts(call, self.timeout, tries.left()),
            )
            response = self._client.send(request, stream=True)
            with contextlib.closing(response):
                if response.status_code not in call.answers_with:
                    response.read()
                    raise self.seam.refusal(response)
                yield response

    def _body(self, response: httpx.Response, call: Call[Any], tries: Tries) -> bytes:
        """All of it, for as long as there is time."""
        pieces = []
        for piece in response.iter_bytes():
            pieces.append(piece)
            if not call.long:
                tries.left()
        return b"".join(pieces)
