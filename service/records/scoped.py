"""`ScopedRecords`: the records that a grant allows.

The views get the records only through it, so no route can leave out a check.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from service.access.grant import Grant
from service.access.matching import matches
from service.access.scope import Filter, all_of
from service.errors import NotFound
from service.indexes.records import IdPage, Record, Selection
from service.ingest.record import NAMESPACE_FIELD
from service.ingest.target import WriteResult
from service.records.records import NO_RECORD, Records
from service.retrieval.deadline import Deadline


class ScopedRecords:
    """Each call raises `Forbidden` for a namespace that the grant does not allow."""

    def __init__(self, records: Records, grant: Grant) -> None:
        self.can_wait_until_visible = records.can_wait_until_visible
        self._records = records
        self._grant = grant

    async def upsert(
        self, namespace: str, records: Sequence[Any], deadline: Deadline, *, visible: bool = False
    ) -> WriteResult:
        self._grant.require_whole_records(namespace)
        return await self._records.upsert(namespace, records, deadline, visible=visible)

    async def delete(
        self, namespace: str, selection: Selection, deadline: Deadline, *, visible: bool = False
    ) -> int | None:
        self._grant.require_whole_records(namespace)
        return await self._records.delete(namespace, selection, deadline, visible=visible)

    async def get(self, namespace: str, id: str, deadline: Deadline) -> Record:
        """One record. One that is hidden from the caller is not found."""
        self._grant.require_namespace(namespace)
        record = await self._records.get(namespace, id, deadline)
        filter = self._grant.filter(namespace)
        if filter is not None and not matches(record, filter):
            raise NotFound(NO_RECORD.format(namespace=namespace))
        return self._visible(record)

    async def list_ids(
        self,
        namespace: str,
        prefix: str | None,
        limit: int,
        cursor: str | None,
        deadline: Deadline,
    ) -> IdPage:
        """A page of ids. Behind a filter it may have fewer than `limit`, though others follow."""
        self._grant.require_namespace(namespace)
        filter = self._grant.filter(namespace)
        return await self._records.list_ids(namespace, prefix, limit, cursor, deadline, filter)

    def scan(
        self, namespace: str, filter: Filter | None, timeout_s: float
    ) -> AsyncGenerator[Sequence[Record]]:
        """All records that the caller may see and that match the filter, page by page."""
        self._grant.require_namespace(namespace)
        self._grant.require_filter(filter)
        filters = [each for each in (self._grant.filter(namespace), filter) if each]
        pages = self._records.scan(namespace, all_of(filters), timeout_s)
        return pages if self._grant.fields is None else self._visible_pages(pages)

    async def scan_all(
        self, namespaces: Sequence[str], filter: Filter | None, timeout_s: float
    ) -> AsyncGenerator[Sequence[Record]]:
        """The records of several namespaces, one after the other; each names its own."""
        for namespace in namespaces:
            async with contextlib.aclosing(self.scan(namespace, filter, timeout_s)) as pages:
                async for page in pages:
                    yield [{**each, NAMESPACE_FIELD: namespace} for each in page]

    async def _visible_pages(
        self, pages: AsyncGenerator[Sequence[Record]]
    ) -> AsyncGenerator[Sequence[Record]]:
        async with contextlib.aclosing(pages):
            async for page in pages:
                yield [self._visible(each) for each in page]

    def _visible(self, record: Record) -> Record:
        allowed = self._grant.fields
        if allowed is None:
            return record
        return {name: value for name, value in record.items() if name == "_id" or name in allowed}
