"""Encoding of a search in progress: the best results after each stage, and how ranks changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from service.caching.answer_cache import Answer
from service.retrieval.deadline import Deadline
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Stopwatch
from service.web.responses import encode_records
from service.web.search.parsing import ParsedSearch
from service.web.search.rendering import SearchAnswer, answer_receipt
from service.web.search.service import SearchService


class _Result(msgspec.Struct):
    id: str = msgspec.field(name="_id")


class _Payload(msgspec.Struct):
    results: list[_Result]


_PAYLOAD = msgspec.json.Decoder(_Payload)


class ProgressEncoder:
    """Encodes the events of one search for one client, which starts with no results."""

    def __init__(self, service: SearchService, search: ParsedSearch, deadline: Deadline) -> None:
        self._service = service
        self._search = search
        self._deadline = deadline
        self._watch = Stopwatch()
        self._ranks: dict[str, int] = {}

    async def encode(self, item: StageEvent | SearchAnswer) -> tuple[str, bytes]:
        """Return the name of the stage, and its data as JSON in the shape of `SearchEvent`."""
        if isinstance(item, Answer):
            return "done", self._encode_answer(item)
        body: dict[str, Any] = {"stage": item.stage}
        if item.leg is not None:
            body["leg"] = item.leg
        body["results"] = await self._service.progress(self._search, item, self._deadline)
        body["moved"] = self._rank_changes([result["_id"] for result in body["results"]])
        return item.stage, self._service.renderer.encode(body)

    def _encode_answer(self, answer: SearchAnswer) -> bytes:
        """Splice the payload in, so that its bytes are the same as in a JSON response."""
        ids = [result.id for result in _PAYLOAD.decode(answer.payload).results]
        head = encode_records({"stage": "done", "moved": self._rank_changes(ids)})
        receipt = encode_records(answer_receipt(answer, self._watch))
        return b'%b,%b,"receipt":%b}' % (head[:-1], answer.payload[1:-1], receipt)

    def _rank_changes(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Ranks count from 1; the rank of a record that is not among the results is null."""
        before, self._ranks = self._ranks, {id: rank for rank, id in enumerate(ids, 1)}
        removed = [id for id in before if id not in self._ranks]
        return [
            {"_id": id, "from": before.get(id), "to": self._ranks.get(id)}
            for id in [*self._ranks, *removed]
            if before.get(id) != self._ranks.get(id)
        ]
