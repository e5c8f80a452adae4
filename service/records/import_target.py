"""The records as the target of an import, which has a retry policy of its own.

Each batch is attempted once, and a rate limit is raised, for the import to slow down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.errors import UpstreamRefused, UpstreamTooLarge
from service.ingest.target import Failure, WriteResult
from service.records.records import Records
from service.retrieval.deadline import Deadline

OF_RECORDS = (UpstreamRefused, UpstreamTooLarge)  # the refused records are known already


class ImportTarget:
    """`records` returns the open records, and raises an error while they are closed."""

    def __init__(self, records: Callable[[], Records], text_field: str, timeout_s: float) -> None:
        self.text_field = text_field
        self._records = records
        self._timeout_s = timeout_s

    @property
    def batch_size(self) -> int:
        return self._records().max_batch

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        result, error = await self._records().upsert_once(
            namespace, records, Deadline(self._timeout_s)
        )
        if error is not None and not isinstance(error, OF_RECORDS):
            raise error
        failures = [
            Failure(each.id, each.position, each.code, each.detail) for each in result.failures
        ]
        return WriteResult(result.written, failures)
