"""Parsing of documents in the documents dialect, where vectors are fields like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.pinecone_api.validation import (
    check_fields,
    check_id,
    encode_dense,
    encode_sparse,
)
from service.indexes.filters import shown


def parse_document(
    index: EmbeddedIndex,
    id: Any,
    given: Mapping[str, Any],
    embedded: Mapping[str, bytes] | None = None,
) -> PendingDocument:
    """Validate a document by the schema. `embedded` has vectors of its texts, if known."""
    schema = index.schema
    id = check_id(id)
    label = f"record {shown(id)}"
    fields = dict(given)
    vectors = dict(embedded or {})
    for name in schema.dense_fields.keys() & fields.keys():
        dimension = index.dimensions[name]
        vectors[name] = encode_dense(fields.pop(name), schema, name, dimension, label)
    for name in set(schema.sparse_fields) & fields.keys():
        vectors[name] = encode_sparse(fields.pop(name), name, label)
    check_fields(schema, fields, label)
    if missing := [name for name in schema.dense_fields if name not in vectors]:
        raise ValueError(f"{label} lacks the field {shown(missing[0])}, a dense vector")
    if missing := [name for name in schema.semantic_fields if name not in fields]:
        raise ValueError(f"{label} lacks the field {shown(missing[0])}, a text")
    if not vectors and not schema.text_fields.keys() & fields.keys():
        raise ValueError(f"{label} has none of the fields that can be searched")
    return PendingDocument(id, fields, vectors)
