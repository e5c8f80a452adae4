"""One deletion from every index, in as many calls as the index needs.

Each call is made once: repeated, it could delete a record that was written in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.errors import RequestError
from service.indexes.index import Index
from service.indexes.limits import MAX_IDS
from service.indexes.records import Selection
from service.retrieval.deadline import Deadline


async def delete(
    indexes: Sequence[Index], namespace: str, selection: Selection, deadline: Deadline
) -> int | None:
    """Delete the selection; returns the number of records if an index reports it."""
    parts = _split(selection)
    outcomes = await asyncio.gather(
        *(_delete_from(index, namespace, parts, deadline) for index in indexes),
        return_exceptions=True,
    )
    counts: list[int] = []
    for outcome in outcomes:
        if isinstance(outcome, RequestError):
            raise _partial(outcome, outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is not None:
            counts.append(outcome)
    return max(counts, default=None)


async def _delete_from(
    index: Index, namespace: str, parts: Sequence[Selection], deadline: Deadline
) -> int | None:
    counts = [await index.delete(namespace, part, deadline.remaining()) for part in parts]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _split(selection: Selection) -> list[Selection]:
    if selection.ids is None:
        return [selection]
    ids = selection.ids
    return [Selection(ids=ids[i : i + MAX_IDS]) for i in range(0, len(ids), MAX_IDS)]


def _partial(error: RequestError, outcomes: Sequence[object]) -> RequestError:
    """The error, with a note if another index has deleted the records."""
    if all(isinstance(outcome, BaseException) for outcome in outcomes):
        return error
    detail = f"{error.detail}. The other index has deleted them: send this again"
    return type(error)(detail, invalid_fields=error.invalid_fields, retry_after=error.retry_after)
