"""Which documents of an upsert are stored already, so that they need not be written again."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from service.embedded.pending_documents import PendingDocument
from service.embedded.storage.operations import Keep
from service.embedded.storage.store import Store


def find_unchanged(
    store: Store, namespace: str, documents: Sequence[PendingDocument]
) -> tuple[list[PendingDocument], list[Keep]]:
    """The documents to write, and the versions that are stored already."""
    ids = [each.id for each in documents if each.json is not None and not each.vectors]
    stored = store.stored_json(namespace, ids) if ids else {}
    changed: list[PendingDocument] = []
    kept: list[Keep] = []
    for each in documents:
        docno, json = stored.get(each.id, (0, None))
        if json is not None and not each.vectors and _is_same(json, each.json):
            kept.append(Keep(docno))
        else:
            changed.append(each)
    return changed, kept


def _is_same(stored: bytes, given: bytes | None) -> bool:
    """Whether two encodings have the same fields, in whatever order."""
    if stored == given:
        return True
    if given is None or len(stored) != len(given):
        return False
    first, second = (
        orjson.dumps(orjson.loads(each), option=orjson.OPT_SORT_KEYS) for each in (stored, given)
    )
    return first == second
