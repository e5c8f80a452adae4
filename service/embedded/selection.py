"""What a filter selects is changed or read page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pyroaring import BitMap

from service.embedded.index import ATTEMPTS, EmbeddedIndex
from service.embedded.paging import decode_token
from service.embedded.pending_documents import PendingDocument
from service.embedded.storage.store import Document, Store
from service.embedded.views.view_set import TemporarilyUnavailable

AT_ONCE = 1_000  # documents


async def update_where(
    index: EmbeddedIndex,
    namespace: str,
    filter: Mapping[str, Any],
    changed: Callable[[Document], PendingDocument],
) -> int:
    """Write anew what a filter selects, a thousand documents at a time; how many it selected."""
    docnos = list(await index.select(namespace, filter))
    for start in range(0, len(docnos), AT_ONCE):
        found = await index.read(partial(_documents, docnos=docnos[start : start + AT_ONCE]))
        await index.update(namespace, [each.id for each in found], changed)
    return len(docnos)


async def page_where(
    index: EmbeddedIndex, namespace: str, filter: Mapping[str, Any], token: str | None, limit: int
) -> tuple[list[Document], str | None]:
    """A page of what a filter selects, and what the next one begins after.

    In the order of ids, which stay while versions come and go: what is written anew meanwhile is
    neither passed over nor found twice.
    """
    after = decode_token(token)
    newest = await index.read(lambda store: store.last_docno())
    found = await index.select(namespace, filter)
    candidates = await index.read(
        lambda store: store.page(namespace, after, limit + 1, found, newest)
    )
    last = candidates[limit - 1].id if len(candidates) > limit else None
    return await _selected(index, namespace, filter, candidates[:limit], found), last


async def _selected(
    index: EmbeddedIndex,
    namespace: str,
    filter: Mapping[str, Any],
    candidates: Sequence[Document],
    found: BitMap,
) -> list[Document]:
    """Those that were found; what was written since is looked for again."""
    selected = [each for each in candidates if each.docno in found]
    unsure = {each.id: each for each in candidates if each.docno not in found}
    for _ in range(ATTEMPTS):
        if not unsure:
            return sorted(selected, key=lambda each: each.id)
        found = await index.select(namespace, filter)
        selected += [each for each in unsure.values() if each.docno in found]
        others = {each.id: each for each in unsure.values() if each.docno not in found}
        current = await index.read(partial(_by_id, namespace=namespace, ids=list(others)))
        unsure = {each.id: each for each in current if each.docno != others[each.id].docno}
    raise TemporarilyUnavailable("others keep changing the same documents; try again")


def _by_id(store: Store, namespace: str, ids: list[str]) -> list[Document]:
    return store.documents_by_id(namespace, ids)


def _documents(store: Store, docnos: list[int]) -> list[Document]:
    return list(store.documents_by_docno(docnos).values())
