"""From what a caller wants to write to what the store writes: texts embedded, vectors checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.embedded.schema import Schema
from service.embedded.storage.operations import Put
from service.inference.embedder import Embedder


@dataclass(frozen=True, slots=True)
class PendingDocument:
    """A document to be written, with those of its vectors that need no embedding."""

    id: str
    fields: Mapping[str, Any]
    vectors: Mapping[str, bytes] = field(default_factory=dict)


class DocumentEmbedder:
    """Embeds the texts of a batch together."""

    def __init__(self, schema: Schema, embedder: Embedder) -> None:
        self._fields = schema.semantic_fields
        self._embedder = embedder

    def puts(
        self,
        namespace: str,
        documents: Sequence[PendingDocument],
        expected_docno: Sequence[int] | None = None,
    ) -> list[Put]:
        """With `expected_docno`, each takes the place of that version only."""
        vectors = [dict(document.vectors) for document in documents]
        for name in self._fields:
            self._embed(name, documents, vectors)
        replaced: Sequence[int | None] = expected_docno or [None] * len(documents)
        return [
            Put(namespace, document.id, document.fields, own, docno)
            for document, own, docno in zip(documents, vectors, replaced, strict=True)
        ]

    def _embed(
        self, name: str, documents: Sequence[PendingDocument], vectors: Sequence[dict[str, bytes]]
    ) -> None:
        texts = [
            (own, document.fields.get(name))
            for document, own in zip(documents, vectors, strict=True)
        ]
        missing = [(own, text) for own, text in texts if name not in own and isinstance(text, str)]
        embedded = self._embedder.embed([text for _, text in missing])
        for (own, _), vector in zip(missing, embedded, strict=True):
            own[name] = vector.tobytes()
