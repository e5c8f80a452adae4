"""One deletion from every index at once, as many ids in a call as an index takes.

Knows nothing of HTTP. Each call is made once: what was sent twice might delete what was written in
between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.errors import RequestError
from service.indexes.reads import deadline_exceeded
from service.indexes.writes import MAX_IDS, Selection
from service.records.outcomes import half_deleted
from service.records.sending import NET_S, Target
from service.retrieval.deadline import Deadline


async def delete(
    targets: Sequence[Target], namespace: str, selection: Selection, deadline: Deadline
) -> int | None:
    """How many records that were, where the backend says it."""
    parts = _parts(selection)
    outcomes = await asyncio.gather(
        *(_delete_from(target, namespace, parts, deadline) for target in targets),
        return_exceptions=True,
    )
    counts: list[int | None] = []
    for outcome in outcomes:
        if isinstance(outcome, RequestError):
            raise half_deleted(outcome, outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        counts.append(outcome)
    known = [count for count in counts if count is not None]
    return max(known) if known else None


def _parts(selection: Selection) -> list[Selection]:
    if selection.ids is None:
        return [selection]
    ids = selection.ids
    return [Selection(ids=ids[i : i + MAX_IDS]) for i in range(0, len(ids), MAX_IDS)]


async def _delete_from(
    target: Target, namespace: str, parts: Sequence[Selection], deadline: Deadline
) -> int | None:
    counts = [await _delete_part(target, namespace, part, deadline) for part in parts]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


async def _delete_part(
    target: Target, namespace: str, part: Selection, deadline: Deadline
) -> int | None:
    left = deadline.remaining() + NET_S
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await target.pool.call(
                lambda index: target.dialect.delete(index, namespace, part, left)
            )
    except TimeoutError:
        raise deadline_exceeded(target.name, deadline.seconds) from None
