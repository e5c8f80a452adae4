"""Searching while somebody types: which search is the newest, and what has come of it.

Reads and writes the messages, and sends none. Whatever still comes of an older search is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from service.client import answers
from service.client.call import encoded
from service.client.errors import ApiError, ConnectionFailed, GarbledAnswer
from service.client.models import Asked, Mode, SearchEvent
from service.client.requests import SearchOptions, asked_for, search_body

Outcome = SearchEvent | ApiError
PING = '{"type":"ping"}'


class _Heard(NamedTuple):
    seq: int
    outcome: Outcome


class Keystrokes:
    """The searches of one connection. `as_error` makes an error of what the service says."""

    def __init__(self, as_error: Callable[[Any], ApiError]) -> None:
        self._as_error = as_error
        self._seq = 0
        self._asked: Asked | None = None  # None: no search is under way
        self._unread: deque[_Heard] = deque()
        self._ended = False

    @property
    def under_way(self) -> bool:
        """Whether anything more will come of the newest search."""
        return self._asked is not None

    def search(self, text: str, mode: Mode, options: SearchOptions) -> str:
        """What to send for a search that takes the place of the one before."""
        self._check()
        seq = self._seq + 1
        body = {**search_body(text, options), "type": "search", "seq": seq, "mode": mode}
        message = encoded(body).decode()
        self._seq, self._asked = seq, asked_for(mode, options)
        self._unread.clear()
        return message

    def cancel(self) -> list[str]:
        """What to send so that nothing more comes. The answer to the ping wakes who waits."""
        if self._asked is None:
            return []
        self._asked = None
        self._unread.clear()
        return [encoded({"type": "cancel", "seq": self._seq}).decode(), PING]

    def heard(self, text: str) -> None:
        """One message of the service."""
        body = answers.decoded(text)
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise GarbledAnswer("A message of the service has no type: is it a Cascade?")
        seq = self._seq if body.get("seq") is None else body["seq"]
        if self._asked is None or seq != self._seq:
            return
        outcome: Outcome | None = None
        if body["type"] == "results":
            outcome = answers.search_event(str(body.get("stage")), body, self._asked)
        elif body["type"] == "error":
            outcome = self._as_error(body)
        if outcome is not None:
            if isinstance(outcome, ApiError) or outcome.stage == "done":
                self._asked = None
            self._unread.append(_Heard(seq, outcome))

    def take(self) -> SearchEvent | None:
        """The next that has come of the newest search; its error is raised."""
        self._check()
        while self._unread:
            seq, outcome = self._unread.popleft()
            if seq != self._seq:
                continue
            if isinstance(outcome, ApiError):
                raise outcome
            return outcome
        return None

    def end(self) -> None:
        """Nothing more is said or heard."""
        self._ended, self._asked = True, None

    def _check(self) -> None:
        if self._ended:
            raise ConnectionFailed("This connection was closed at the end of its block")
