"""The messages of search as you type, without I/O: it encodes searches and decodes what comes back.

Only the newest search counts; messages about earlier searches are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from service.client import responses
from service.client.call import encode_json
from service.client.endpoints import SearchOptions, search_body, search_context
from service.client.errors import ApiError, ConnectionFailed, GarbledAnswer
from service.client.models import Mode, SearchContext, SearchEvent

Outcome = SearchEvent | ApiError
PING = '{"type":"ping"}'


class TypingProtocol:
    """The state of one connection. `to_error` maps the body of an error message."""

    def __init__(self, to_error: Callable[[Any], ApiError]) -> None:
        self._to_error = to_error
        self._seq = 0
        self._context: SearchContext | None = None  # None while no search is active
        self._received: deque[Outcome] = deque()
        self._is_closed = False

    @property
    def is_active(self) -> bool:
        """Whether more messages of the newest search are to come."""
        return self._context is not None

    def search(self, text: str, mode: Mode, options: SearchOptions) -> str:
        """The message that starts a search and replaces the one before."""
        self._check_open()
        seq = self._seq + 1
        body = {**search_body(text, options), "type": "search", "seq": seq, "mode": mode}
        message = encode_json(body).decode()
        self._seq, self._context = seq, search_context(mode, options)
        self._received.clear()
        return message

    def cancel(self) -> list[str]:
        """The messages that cancel the search. The reply to the ping wakes a waiting receiver."""
        if self._context is None:
            return []
        self._context = None
        self._received.clear()
        return [encode_json({"type": "cancel", "seq": self._seq}).decode(), PING]

    def receive(self, message: str) -> None:
        body = responses.decode_json(message)
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise GarbledAnswer("A message of the service has no type: is it a Cascade?")
        seq = self._seq if body.get("seq") is None else body["seq"]
        if self._context is None or seq != self._seq:
            return
        outcome: Outcome | None = None
        if body["type"] == "results":
            outcome = responses.search_event(str(body.get("stage")), body, self._context)
        elif body["type"] == "error":
            outcome = self._to_error(body)
        if outcome is not None:
            if isinstance(outcome, ApiError) or outcome.stage == "done":
                self._context = None
            self._received.append(outcome)

    def next_event(self) -> SearchEvent | None:
        """The next event of the newest search. Raises its error."""
        self._check_open()
        outcome = self._received.popleft() if self._received else None
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    def close(self) -> None:
        self._is_closed, self._context = True, None

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionFailed("This connection was closed at the end of its block")
