"""What a filter selects is changed or read page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from service.embedded.drafts import Draft
from service.embedded.index import EmbeddedIndex
from service.embedded.plane.paging import page_of_numbers
from service.embedded.store import Document, Store

AT_ONCE = 1_000  # documents


async def change_where(
    index: EmbeddedIndex,
    namespace: str,
    filter: Mapping[str, Any],
    changed: Callable[[Document], Draft],
) -> int:
    """Write anew what a filter selects, a thousand documents at a time; how many it selected."""
    docnos = list(await index.find(namespace, filter))
    for start in range(0, len(docnos), AT_ONCE):
        found = await index.read(partial(_documents, docnos=docnos[start : start + AT_ONCE]))
        await index.change(namespace, [each.id for each in found], changed)
    return len(docnos)


async def page_where(
    index: EmbeddedIndex, namespace: str, filter: Mapping[str, Any], token: str | None, limit: int
) -> tuple[list[Document], str | None]:
    """A page of what a filter selects, and what the next one begins after."""
    docnos, last = page_of_numbers(await index.find(namespace, filter), token, limit)
    return await index.read(partial(_documents, docnos=docnos)), last


def _documents(store: Store, docnos: list[int]) -> list[Document]:
    return list(store.documents(docnos).values())
