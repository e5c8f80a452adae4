"""The views of an index: one that filters, and those that search each field.

A search that needs a view raises `TemporarilyUnavailable` while that view is rebuilt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from service.disk_space import DiskSpace
from service.embedded.filters.index import CheckCancelled
from service.embedded.queries import DenseQuery, IndexQuery, LexicalQuery, SparseQuery
from service.embedded.schema import Schema
from service.embedded.storage.store import Store
from service.embedded.vectors.dense import DenseIndex
from service.embedded.vectors.sparse import SparseIndex
from service.embedded.views.corpus import CorpusStatisticsView
from service.embedded.views.filters import FilterView
from service.embedded.views.lexical import LexicalView
from service.embedded.views.vectors import VectorView
from service.embedded.views.view import View
from service.embedded.views.view_set import ViewSet
from service.inference.embedder import Embedder


class IndexViews:
    """The views by kind and field; `followed` has them all between `start` and its `stop`."""

    def __init__(self, folder: Path, schema: Schema, embedder: Embedder, disk: DiskSpace) -> None:
        self._schema = schema
        self._embedder = embedder
        self.followed = ViewSet(disk)
        self.filters = FilterView(schema)
        self.lexical = LexicalView(folder / "lexical", schema) if schema.full_text_fields else None
        self.dense = {
            name: _dense_view(folder, name, embedder.dimension, "cosine", "f16")
            for name in schema.semantic_fields
        } | {
            name: _dense_view(folder, name, each.dimension, each.metric, "f32")
            for name, each in schema.dense_fields.items()
        }
        self.sparse = {
            name: VectorView("sparse", folder, name, SparseIndex) for name in schema.sparse_fields
        }
        self.corpora = {
            name: CorpusStatisticsView(folder, name, embedder) for name in schema.semantic_fields
        }

    def start(self, store: Store) -> None:
        """Open every view; those that can't catch up from the log rebuild in the background."""
        views: list[View] = [self.filters]
        if self.lexical:
            views.append(self.lexical)
        views += [*self.dense.values(), *self.sparse.values(), *self.corpora.values()]
        self.followed.start(views, store)

    def has_only(self, namespace: str) -> bool:
        """Whether there are no documents in other namespaces."""
        return self.followed.require_complete(self.filters).has_only(namespace)

    def wait_for_filter(self, seq: int, filter: Mapping[str, Any] | None) -> None:
        """Wait until `filter` selects among the changes up to `seq`."""
        self.followed.wait_for(self.filters, seq)
        if self.lexical and filter and "$match_" in json.dumps(filter):
            self.followed.wait_for(self.lexical, seq, visible=True)

    def select(
        self,
        namespace: str,
        filter: Mapping[str, Any] | None,
        check_cancelled: CheckCancelled,
    ) -> BitMap:
        """The numbers of the documents that match a filter."""
        filters = self.followed.require_complete(self.filters)
        return filters.select(namespace, filter, self._match, check_cancelled)

    def _match(self, field: str, operator: str, text: str) -> BitMap:
        if field not in self._schema.full_text_fields:
            raise ValueError(f"{operator} on {field!r}: it is not a full-text field")
        return self.followed.require_complete(self.lexical).index.match(field, operator, text)

    def rank(
        self, query: IndexQuery, top_k: int, candidates: BitMap | None
    ) -> list[tuple[int, float]]:
        """The numbers of the best documents with their scores, best first."""
        if isinstance(query, LexicalQuery):
            lexical = self.followed.require_complete(self.lexical)
            return lexical.index.search(query.clauses, top_k, candidates, match_all=query.match_all)
        if isinstance(query, SparseQuery):
            sparse = self.followed.require_complete(self.sparse[query.field])
            return sparse.index.search(query.indices, query.values, top_k, candidates)
        dense = self.followed.require_complete(self.dense[query.field])
        if isinstance(query, DenseQuery):
            return dense.index.search(query.vector, top_k, candidates)
        corpus = self.corpora[query.field].corpus
        return dense.index.search(self._embedder.embed_query(query.text, corpus), top_k, candidates)

    def dense_rebuild_progress(self) -> float | None:
        """The completed share of a rebuild that semantic searches wait for, or None."""
        return self.followed.rebuild_progress([self.filters, *self.dense.values()])

    def lexical_rebuild_progress(self) -> float | None:
        """The completed share of a rebuild that lexical searches wait for, or None."""
        return self.followed.rebuild_progress(
            [self.filters, *([self.lexical] if self.lexical else [])]
        )


def _dense_view(
    folder: Path, field: str, dimension: int, metric: str, dtype: str
) -> VectorView[DenseIndex]:
    """Embeddings are kept in 16 bits, the vectors of a caller in 32, also those of zeros."""
    new_index = partial(DenseIndex, dimension=dimension, metric=metric, dtype=dtype)
    return VectorView("dense", folder, field, new_index, skip_zeros=dtype == "f16")
