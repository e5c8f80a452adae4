"""A document as it is written in the documents dialect: its vectors stand among its fields."""

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
    """Checked by the schema. Texts that are `embedded` already are not embedded anew."""
    schema = index.schema
    id = check_id(id)
    whose = f"record {shown(id)}"
    fields = dict(given)
    vectors = dict(embedded or {})
    for name in schema.dense_fields.keys() & fields.keys():
        dimension = index.dimensions[name]
        vectors[name] = encode_dense(fields.pop(name), schema, name, dimension, whose)
    for name in set(schema.sparse_fields) & fields.keys():
        vectors[name] = encode_sparse(fields.pop(name), name, whose)
    check_fields(schema, fields, whose)
    if missing := [name for name in schema.dense_fields if name not in vectors]:
        raise ValueError(f"{whose} lacks the field {shown(missing[0])}, a dense vector")
    if missing := [name for name in schema.semantic_fields if name not in fields]:
        raise ValueError(f"{whose} lacks the field {shown(missing[0])}, a text")
    if not vectors and not schema.text_fields.keys() & fields.keys():
        raise ValueError(f"{whose} has none of the fields that can be searched")
    return PendingDocument(id, fields, vectors)
