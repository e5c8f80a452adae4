"""The records as what a load writes to: each batch is sent once, and what went wrong is told.

Whoever loads tries again by itself, and has to see a rate limit to heed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.errors import RequestError, UpstreamRefused, UpstreamTooLarge
from service.ingest.target import Failure, Written
from service.records.records import Records
from service.retrieval.deadline import Deadline

OF_RECORDS = (UpstreamRefused, UpstreamTooLarge)  # who is refused has been found out already


class Importing:
    """`records` gives them while they are open, and raises otherwise."""

    def __init__(self, records: Callable[[], Records], text_field: str, timeout_s: float) -> None:
        self.text_field = text_field
        self._records = records
        self._timeout_s = timeout_s

    @property
    def batch_size(self) -> int:
        return self._records().most_at_once

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        done, error = await self._records().send_once(namespace, records, Deadline(self._timeout_s))
        if isinstance(error, RequestError) and not isinstance(error, OF_RECORDS):
            raise error
        failures = [
            Failure(each.id, each.position, each.code, each.detail) for each in done.failures
        ]
        return Written(done.written, failures)
