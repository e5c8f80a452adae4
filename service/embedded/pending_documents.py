"""Documents that are about to be written, and the embedding of their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.embedded.schema import Schema
from service.embedded.storage.operations import Put
from service.inference.embedder import Embedder


@dataclass(frozen=True, slots=True)
class PendingDocument:
    """A document that was validated but not written.

    `vectors` are those that the caller provides. `json` is the encoding of `fields`, if there is
    one already.
    """

    id: str
    fields: Mapping[str, Any]
    vectors: Mapping[str, bytes] = field(default_factory=dict)
    json: bytes | None = None


class DocumentEmbedder:
    """Embeds the semantic fields of pending documents, those of one batch together."""

    def __init__(self, schema: Schema, embedder: Embedder) -> None:
        self._fields = schema.semantic_fields
        self._embedder = embedder

    def puts(
        self,
        namespace: str,
        documents: Sequence[PendingDocument],
        expected_docnos: Sequence[int] | None = None,
    ) -> list[Put]:
        """The operations that write `documents`, each in place of its expected version if given."""
        vectors = [dict(document.vectors) for document in documents]
        for name in self._fields:
            self._embed(name, documents, vectors)
        expected: Sequence[int | None] = expected_docnos or [None] * len(documents)
        return [
            Put(namespace, document.id, document.json or document.fields, own, docno)
            for document, own, docno in zip(documents, vectors, expected, strict=True)
        ]

    def _embed(
        self,
        name: str,
        documents: Sequence[PendingDocument],
        vectors: Sequence[dict[str, bytes]],
    ) -> None:
        """Add the missing vectors of one field."""
        texts = [
            (own, document.fields.get(name))
            for document, own in zip(documents, vectors, strict=True)
        ]
        missing = [(own, text) for own, text in texts if name not in own and isinstance(text, str)]
        embedded = self._embedder.embed([text for _, text in missing])
        for (own, _), vector in zip(missing, embedded, strict=True):
            own[name] = vector.tobytes()
