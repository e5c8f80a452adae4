"""Documents that a filter selects, read or updated a page at a time, and pages of ids.

The token of a page holds the last id of the page before, and is opaque to the caller.
"""

from __future__ import annotations

import base64
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
        documents = await index.read(partial(Store.documents_by_docno, docnos=batch))
        await index.update(namespace, [each.id for each in documents.values()], change)
    return len(docnos)


async def page_where(
    index: EmbeddedIndex, namespace: str, filter: Mapping[str, Any], token: str | None, limit: int
) -> tuple[list[Document], str | None]:
    """A page of the selected documents, and the token of the next page.

    Pages are in the order of ids, which stay the same while versions come and go: a document that
    is updated meanwhile is neither skipped nor returned twice.
    """
    after = decode_token(token)
    newest = await index.read(lambda store: store.last_docno())
    selected = await index.select(namespace, filter)
    candidates = await index.read(
        lambda store: store.page(namespace, after, limit + 1, selected, newest)
    )
    _, following = cut_page([each.id for each in candidates], limit)
    return await _recheck(index, namespace, filter, candidates[:limit], selected), following


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
        current = await index.read(
            partial(Store.documents_by_id, namespace=namespace, ids=list(others))
        )
        unsure = {each.id: each for each in current if each.docno != others[each.id].docno}
    raise TemporarilyUnavailable("the same documents keep changing; try again")


async def page_of_ids(
    index: EmbeddedIndex, namespace: str, prefix: str, token: str | None, limit: int
) -> tuple[list[str], str | None]:
    """A page of the ids of a namespace, in order, and the token of the next page."""
    after = decode_token(token)
    ids = await index.read(lambda store: store.list_ids(namespace, prefix, after, limit + 1))
    return cut_page(ids, limit)


def cut_page(ids: list[str], limit: int) -> tuple[list[str], str | None]:
    """A page, and the token of the next page if there is one: then there are `limit + 1` ids."""
    if len(ids) <= limit:
        return ids, None
    return ids[:limit], base64.urlsafe_b64encode(ids[limit - 1].encode()).decode()


def decode_token(token: str | None) -> str:
    """The id after which the page begins; empty for the first page."""
    try:
        return base64.b64decode(token or "", altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        raise ValueError("the pagination token is not one that this index has issued") from None
