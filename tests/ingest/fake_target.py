"""A target that stores records in a dict and gives scripted answers.

It stands in for a backend that may reject records, be busy, or be slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.errors import BodyTooLarge, InvalidRequest
from service.ingest.target import Failure, WriteResult

Answer = Exception | Callable[[Sequence[Mapping[str, Any]]], WriteResult] | None


class FakeTarget:
    """Gives `answers` to the first calls in order; None and later calls write the records."""

    text_field = "chunk_text"
    batch_size = 10

    def __init__(self, *answers: Answer, largest: int = 10_000, refuses: str = "") -> None:
        self.records: dict[str, Mapping[str, Any]] = {}
        self.calls: list[list[str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.held: dict[str, asyncio.Event] = {}
        self._answers = list(answers)
        self._largest = largest
        self._refuses = refuses

    def hold(self, id: str) -> asyncio.Event:
        """A batch with this id waits until the event is set."""
        return self.held.setdefault(id, asyncio.Event())

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        ids = [str(record["_id"]) for record in records]
        self.calls.append(ids)
        answer = self._answers.pop(0) if self._answers else None
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            for id in ids:
                if id in self.held:
                    await self.held[id].wait()
            return self._answer(answer, records)
        finally:
            self.in_flight -= 1

    def _answer(self, answer: Answer, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        if isinstance(answer, Exception):
            raise answer
        if len(records) > self._largest:
            raise BodyTooLarge("too large")
        if any(record["_id"] == self._refuses for record in records):
            raise InvalidRequest("not one of these")
        written = answer(records) if answer else WriteResult(len(records))
        failed = {failure.index for failure in written.failures}
        for index, record in enumerate(records):
            if index not in failed:
                self.records[record["_id"]] = record
        return written


def failing_record(index: int, code: str, detail: str = "no") -> Callable[..., WriteResult]:
    """An answer with one failed record."""

    def answer(records: Sequence[Mapping[str, Any]]) -> WriteResult:
        id = records[index]["_id"]
        return WriteResult(len(records) - 1, [Failure(id, index, code, detail)])

    return answer
