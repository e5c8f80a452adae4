"""The view that evaluates filters: in memory only, and read anew at every start."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pyroaring import BitMap

from service.embedded.filters.index import CheckCancelled, FilterIndex, Match
from service.embedded.schema import Schema
from service.embedded.storage.store import Document
from service.embedded.views.view import VISIBLE_WITHIN_S, View

CHANGES_PER_LOCK = 64  # so that searches wait only for a few documents


class FilterView(View):
    """Finds the documents that a filter selects."""

    name = "the filter view"
    save_after_s = VISIBLE_WITHIN_S

    def __init__(self, schema: Schema) -> None:
        self._text_fields = list(schema.text_fields)
        self._lock = threading.Lock()
        self._index = FilterIndex(not_compared=self._text_fields)

    def open(self) -> int | None:
        return None

    def reset(self) -> None:
        with self._lock:
            self._index = FilterIndex(not_compared=self._text_fields)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        steps = [(self._index.remove, each) for each in removed]
        steps += [(self._index.add, each) for each in added]
        for start in range(0, len(steps), CHANGES_PER_LOCK):
            with self._lock:
                for change, document in steps[start : start + CHANGES_PER_LOCK]:
                    change(document.docno, document.namespace, document.fields)

    def save(self, seq: int) -> None:
        """Do nothing: the next start reads all documents."""

    def has_only(self, namespace: str) -> bool:
        """Return whether no other namespace has documents.

        This takes no lock, because the event loop calls it and a filter may take long.
        """
        return self._index.has_only(namespace)

    def count(self) -> int:
        """Return the number of documents. Takes no lock, either."""
        return self._index.count()

    def has(self, namespace: str) -> bool:
        """Return whether a namespace has documents. Takes no lock, either."""
        return self._index.has(namespace)

    def has_field(self, namespace: str, field: str) -> bool:
        """Return whether a document of a namespace has a field. Takes no lock, either."""
        return self._index.has_field(namespace, field)

    def field_counts(self, namespace: str, more: Collection[tuple[str, str]]) -> tuple[int, int]:
        """Return the number of fields in a namespace and in all of them, together with `more`.

        Those are namespaces with a field, which the documents may have already.
        """
        with self._lock:
            new = [(space, name) for space, name in more if not self._index.has_field(space, name)]
            inside = sum(space == namespace for space, _ in new)
            return self._index.field_count(namespace) + inside, self._index.field_count() + len(new)

    def select(
        self,
        namespace: str,
        filter: Mapping[str, Any] | None,
        match: Match | None,
        check_cancelled: CheckCancelled,
    ) -> BitMap:
        with self._lock:
            return self._index.select(namespace, filter, match, check_cancelled)
