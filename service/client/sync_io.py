"""The I/O that differs between the two clients: the blocking side. `async_io` is the other one."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec, TypeVar

import httpx
from httpx_ws import WebSocketSession

from service.client.call import RequestBody
from service.client.errors import InvalidArgument

P = ParamSpec("P")
T = TypeVar("T")

sleep = time.sleep


def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)


def request_body(body: RequestBody) -> bytes | Iterator[bytes] | None:
    if isinstance(body, AsyncIterator):
        raise InvalidArgument("an async iterable needs AsyncSearchClient")
    return body


class WebSocket:
    """A WebSocket; httpx-ws reads it in a thread."""

    def __init__(self, session: WebSocketSession) -> None:
        self._session = session

    def send(self, message: str) -> None:
        self._session.send_text(message)

    def receive(self, timeout_s: float) -> str:
        """The next message; `TimeoutError` if none arrives in time."""
        try:
            return self._session.receive_text(timeout_s)
        except queue.Empty:
            raise TimeoutError from None


@contextlib.contextmanager
def open_websocket(response: httpx.Response) -> Iterator[WebSocket]:
    """The WebSocket of a response with status 101, closed at the end of the block."""
    with _Session(response.extensions["network_stream"], response=response) as session:
        yield WebSocket(session)


class _Session(WebSocketSession):
    """A session whose reading thread ends with it, whether or not the service closes its side.

    Closing a socket does not wake a thread that reads from it; shutting it down does.
    """

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        with contextlib.ExitStack() as stack:
            original = self.stream.get_extra_info("socket")
            if original is not None and original.fileno() >= 0:
                copy = stack.enter_context(socket.socket(fileno=os.dup(original.fileno())))
                stack.callback(_shut_down, copy)
            super().close(code, reason)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the service was first
        connection.shutdown(socket.SHUT_RDWR)
