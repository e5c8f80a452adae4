"""Validation and encoding of ids, namespaces, fields and vectors, by Pinecone's limits.

`ValueError` says what is wrong. A record that is accepted here is accepted by Pinecone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from service.embedded.filters.columns import is_filterable
from service.embedded.pinecone_api.bodies import Sparse, read_value
from service.embedded.queries import Vector
from service.embedded.schema import Schema
from service.embedded.storage.store import Document
from service.embedded.vectors.sparse import pack, unpack
from service.indexes.filters import shown
from service.indexes.limits import MAX_FIELDS, MAX_FIELDS_BYTES, MAX_ID_LENGTH, is_valid_name

DEFAULT_NAMESPACE = "__default__"
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def check_namespace(given: str | None) -> str:
    """Return the namespace; the empty name stands for the default one."""
    name = given or DEFAULT_NAMESPACE
    if not is_valid_name(name):
        raise ValueError(f"a namespace has at most {MAX_ID_LENGTH} ASCII characters, without NUL")
    return name


def check_id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("an id must be a non-empty text")
    if not is_valid_name(value):
        raise ValueError(
            f"the id {shown(value)} is longer than {MAX_ID_LENGTH} characters or not ASCII"
        )
    return value


def check_prefix(value: str | None) -> str:
    if value is not None and not is_valid_name(value):
        raise ValueError(f"a prefix has at most {MAX_ID_LENGTH} ASCII characters, without NUL")
    return value or ""


def check_fields(schema: Schema, fields: Mapping[str, Any], label: str) -> None:
    """Accept the types that filters support. Searched texts don't count towards the size."""
    if len(fields) > MAX_FIELDS:
        raise ValueError(f"{label}: it has {len(fields)} fields; at most {MAX_FIELDS} are allowed")
    for name, value in fields.items():
        if name.startswith("$"):
            raise ValueError(f"{label}: the field {shown(name)} can't start with $")
        if name in schema.text_fields:
            if not isinstance(value, str):
                raise ValueError(f"{label}: the field {shown(name)} must be a text")
        elif name in schema.dense_fields or name in schema.sparse_fields:
            raise ValueError(f"{label}: the field {shown(name)} takes a vector only")
        elif not is_filterable(value):
            raise ValueError(
                f"{label}: the field {shown(name)} must be a text, a finite number, "
                "true, false or a list of texts"
            )
    others = {name: value for name, value in fields.items() if name not in schema.text_fields}
    try:
        size = len(orjson.dumps(others))
    except TypeError:
        raise ValueError(f"{label}: it has an integer of more than 64 bits") from None
    if size > MAX_FIELDS_BYTES:
        raise ValueError(
            f"{label}: its fields, without the searched texts, have {size} bytes; "
            f"at most {MAX_FIELDS_BYTES} are allowed"
        )


def drop_nulls(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without nulls, as Pinecone stores it."""
    return {name: value for name, value in metadata.items() if value is not None}


def parse_dense(values: Sequence[float], dimension: int, metric: str) -> Vector:
    """A vector of a query or a document, as 32-bit floats."""
    if len(values) != dimension:
        raise ValueError(
            f"Vector dimension {len(values)} does not match the dimension of the index {dimension}"
        )
    exact = np.asarray(values, dtype=np.float64)
    if np.abs(exact).max() > MAX_FLOAT32:
        raise ValueError("the values of a vector must fit into 32-bit floats")
    vector: Vector = exact.astype(np.float32)
    if metric == "cosine" and not vector.any():
        raise ValueError("a dense vector must have a value that is not zero")
    return vector


def encode_dense(given: Any, schema: Schema, field: str, dimension: int, label: str) -> bytes:
    """The stored form of a dense vector."""
    values = read_value(given, list[float], f"{label}: {shown(field)}, a dense vector")
    vector = parse_dense(values, dimension, metric_of(schema, field))
    if not vector.any():
        raise ValueError(f"{label}: a dense vector must have a value that is not zero")
    return vector.tobytes()


def encode_sparse(given: Any, field: str, label: str) -> bytes:
    """The stored form of a sparse vector."""
    sparse = read_value(given, Sparse, f"{label}: {shown(field)}, a sparse vector")
    check_sparse(sparse)
    return pack(sparse.indices, sparse.values)


def check_sparse(sparse: Sparse) -> None:
    if len(sparse.indices) != len(sparse.values):
        raise ValueError("a sparse vector must have as many values as indices")
    if len(set(sparse.indices)) < len(sparse.indices):
        raise ValueError("the indices of a sparse vector must be unique")
    if max(map(abs, sparse.values)) > MAX_FLOAT32:
        raise ValueError("the values of a vector must fit into 32-bit floats")


def metric_of(schema: Schema, field: str) -> str:
    """The metric of a dense field; embedded texts use cosine."""
    return schema.dense_fields[field].metric if field in schema.dense_fields else "cosine"


def raw_vectors(schema: Schema, document: Document) -> dict[str, Any]:
    """The vectors that the caller provided, as they are in requests."""
    vectors: dict[str, Any] = {}
    for name, raw in document.vectors.items():
        if name in schema.dense_fields:
            vectors[name] = decode_dense(raw)
        elif name in schema.sparse_fields:
            vectors[name] = decode_sparse(raw)
    return vectors


def decode_dense(raw: bytes) -> list[float]:
    values: list[float] = np.frombuffer(raw, dtype=np.float32).tolist()
    return values


def decode_sparse(raw: bytes) -> dict[str, Any]:
    indices, values = unpack(raw)
    return {"indices": indices.tolist(), "values": values.tolist()}


def select_fields(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The requested fields; `*` requests all of them."""
    if "*" in names:
        return fields
    return {name: fields[name] for name in names if name in fields}


def only_field(names: Sequence[str], what: str) -> str:
    """The one field of a kind, for a dialect that does not name fields."""
    if not names:
        raise ValueError(f"this index has no {what} field")
    if len(names) > 1:
        raise ValueError(
            f"this index has {len(names)} {what} fields ({', '.join(names)}), "
            "and only the documents API can name one of them"
        )
    return names[0]
