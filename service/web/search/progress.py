"""How a search gets on, as the faces tell it that speak while it runs.

After each stage: the best results so far, as many as were asked for, and what has moved among them
since the stage before. At the end: all that a JSON answer has. Knows nothing of how it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from service.caching.answer_cache import Answer
from service.retrieval.query import Event, Query
from service.retrieval.receipt import Stopwatch
from service.web.search.rendering import json_of
from service.web.search.service import Found, SearchService, receipt_for


class _Result(msgspec.Struct):
    id: str = msgspec.field(name="_id")


class _Payload(msgspec.Struct):
    results: list[_Result]


_PAYLOAD = msgspec.json.Decoder(_Payload)


class ProgressEncoder:
    """One search, as one listener has seen it."""

    def __init__(self, searching: SearchService, query: Query) -> None:
        self._searching = searching
        self._query = query
        self._watch = Stopwatch()
        self._ranks: dict[str, int] = {}

    def told(self, news: Event | Found) -> tuple[str, bytes]:
        """The name of the stage that has ended, and what to say of it, as JSON."""
        if isinstance(news, Answer):
            return "done", self._done(news)
        found = news.results[: self._query.top_k]
        body: dict[str, Any] = {"stage": news.stage}
        if news.leg is not None:
            body["leg"] = news.leg
        body["results"] = self._searching.results(self._query, found)
        body["moved"] = self._moved([result.id for result in found])
        return news.stage, json_of(body)

    def _done(self, found: Found) -> bytes:
        """The payload stays as it is: those who got it as JSON have the same bytes."""
        ids = [result.id for result in _PAYLOAD.decode(found.payload).results]
        head = json_of({"stage": "done", "moved": self._moved(ids)})
        receipt = json_of(receipt_for(found, self._watch))
        return b'%b,%b,"receipt":%b}' % (head[:-1], found.payload[1:-1], receipt)

    def _moved(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """What is on another rank than before, from 1; null is the rank of what is not shown."""
        before, self._ranks = self._ranks, {id: rank for rank, id in enumerate(ids, 1)}
        gone = [id for id in before if id not in self._ranks]
        return [
            {"_id": id, "from": before.get(id), "to": self._ranks.get(id)}
            for id in [*self._ranks, *gone]
            if before.get(id) != self._ranks.get(id)
        ]
