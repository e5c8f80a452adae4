"""Documents that a filter selects: read or updated a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pyroaring import BitMap

from service.embedded.index import MAX_UPDATE_ATTEMPTS, EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.storage.store import Document, Store
from service.embedded.views.view_set import TemporarilyUnavailable

UPDATE_BATCH = 1_000  # documents


async def update_where(
    index: EmbeddedIndex,
    namespace: str,
    filter: Mapping[str, Any],
    change: Callable[[Document], PendingDocument],
) -> int:
    """Update the selected documents in batches; returns how many were selected."""
    docnos = list(await index.select(namespace, filter))
    for start in range(0, len(docnos), UPDATE_BATCH):
        batch = docnos[start : start + UPDATE_BATCH]
        documents = await index.read(partial(_by_docno, docnos=batch))
        await index.update(namespace, [each.id for each in documents], change)
    return len(docnos)


async def page_where(
    index: EmbeddedIndex, namespace: str, filter: Mapping[str, Any], after: str, limit: int
) -> tuple[list[Document], str | None]:
    """A page of the selected documents, and its last id if another page follows.

    Pages are in the order of ids, which stay the same while versions come and go: a document that
    is updated meanwhile is neither skipped nor returned twice.
    """
    newest = await index.read(lambda store: store.last_docno())
    selected = await index.select(namespace, filter)
    candidates = await index.read(
        lambda store: store.page(namespace, after, limit + 1, selected, newest)
    )
    last_id = candidates[limit - 1].id if len(candidates) > limit else None
    return await _recheck(index, namespace, filter, candidates[:limit], selected), last_id


async def _recheck(
    index: EmbeddedIndex,
    namespace: str,
    filter: Mapping[str, Any],
    candidates: Sequence[Document],
    selected: BitMap,
) -> list[Document]:
    """The selected ones of `candidates`; those written since the selection are selected again."""
    found = [each for each in candidates if each.docno in selected]
    unsure = {each.id: each for each in candidates if each.docno not in selected}
    for _ in range(MAX_UPDATE_ATTEMPTS):
        if not unsure:
            return sorted(found, key=lambda each: each.id)
        selected = await index.select(namespace, filter)
        found += [each for each in unsure.values() if each.docno in selected]
        others = {each.id: each for each in unsure.values() if each.docno not in selected}
        current = await index.read(partial(_by_id, namespace=namespace, ids=list(others)))
        unsure = {each.id: each for each in current if each.docno != others[each.id].docno}
    raise TemporarilyUnavailable("the same documents keep changing; try again")


def _by_id(store: Store, namespace: str, ids: list[str]) -> list[Document]:
    return store.documents_by_id(namespace, ids)


def _by_docno(store: Store, docnos: list[int]) -> list[Document]:
    return list(store.documents_by_docno(docnos).values())
