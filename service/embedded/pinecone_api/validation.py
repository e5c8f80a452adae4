"""What may stand in a record: ids, fields, vectors. `ValueError` says what may not, and why.

The limits are Pinecone's, so that what is written here can be written there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from service.embedded.pinecone_api.bodies import Sparse, read_value
from service.embedded.queries import Vector
from service.embedded.schema import Schema
from service.embedded.storage.store import Document
from service.embedded.vectors.sparse import pack, unpack
from service.indexes.filters import shown

MAX_ID = 512
MAX_FIELDS_BYTES = 40_960
DEFAULT_NAMESPACE = "__default__"
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def check_namespace(given: str | None) -> str:
    """The default namespace has two names, and one is enough."""
    name = given or DEFAULT_NAMESPACE
    if not _is_plain(name):
        raise ValueError(f"a namespace has at most {MAX_ID} ASCII characters, and no NUL")
    return name


def check_id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("an id is a text that is not empty")
    if not _is_plain(value):
        raise ValueError(
            f"the id {shown(value)} has more than {MAX_ID} characters, or some that are not ASCII"
        )
    return value


def check_prefix(value: str | None) -> str:
    if value is not None and not _is_plain(value):
        raise ValueError(f"a prefix has at most {MAX_ID} ASCII characters, and no NUL")
    return value or ""


def _is_plain(text: str) -> bool:
    return len(text) <= MAX_ID and text.isascii() and "\0" not in text


def check_fields(schema: Schema, fields: Mapping[str, Any], whose: str) -> None:
    """Refuse what a filter could not speak of. Texts that are searched may be of any length."""
    for name, value in fields.items():
        if name.startswith("$"):
            raise ValueError(f"{whose}: the field {shown(name)} can't start with $")
        if name in schema.text_fields:
            if not isinstance(value, str):
                raise ValueError(f"{whose}: the field {shown(name)} must be a text")
        elif name in schema.dense_fields or name in schema.sparse_fields:
            raise ValueError(f"{whose}: the field {shown(name)} holds vectors and nothing else")
        elif not _is_value(value):
            raise ValueError(
                f"{whose}: the field {shown(name)} must be a text, a finite number, "
                "true, false or a list of texts"
            )
    others = {name: value for name, value in fields.items() if name not in schema.text_fields}
    try:
        size = len(orjson.dumps(others))
    except TypeError:
        raise ValueError(f"{whose}: it has a whole number of more than 64 bits") from None
    if size > MAX_FIELDS_BYTES:
        raise ValueError(
            f"{whose}: beside the texts that are searched, its fields have {size} bytes; "
            f"{MAX_FIELDS_BYTES} are allowed"
        )


def drop_nulls(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As Pinecone writes metadata: a null is left out."""
    return {name: value for name, value in metadata.items() if value is not None}


def _is_value(value: Any) -> bool:
    if isinstance(value, str | bool):
        return True
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def parse_dense(values: Sequence[float], dimension: int, metric: str) -> Vector:
    """A vector that the caller brings."""
    if len(values) != dimension:
        raise ValueError(
            f"Vector dimension {len(values)} does not match the dimension of the index {dimension}"
        )
    exact = np.asarray(values, dtype=np.float64)
    if np.abs(exact).max() > MAX_FLOAT32:
        raise ValueError("the numbers of a vector must fit into 32-bit floats")
    vector: Vector = exact.astype(np.float32)
    if metric == "cosine" and not vector.any():
        raise ValueError("a dense vector must have at least one value that is not zero")
    return vector


def encode_dense(given: Any, schema: Schema, field: str, dimension: int, whose: str) -> bytes:
    """A dense vector that is written."""
    values = read_value(given, list[float], f"{whose}: {shown(field)}, a dense vector")
    vector = parse_dense(values, dimension, metric_of(schema, field))
    if not vector.any():
        raise ValueError(f"{whose}: a dense vector must have a value that is not zero")
    return vector.tobytes()


def encode_sparse(given: Any, field: str, whose: str) -> bytes:
    """A sparse vector that is written."""
    sparse = read_value(given, Sparse, f"{whose}: {shown(field)}, a sparse vector")
    check_sparse(sparse)
    return pack(sparse.indices, sparse.values)


def check_sparse(sparse: Sparse) -> None:
    if len(sparse.indices) != len(sparse.values):
        raise ValueError("a sparse vector has as many values as indices")
    if len(set(sparse.indices)) < len(sparse.indices):
        raise ValueError("the indices of a sparse vector must differ")
    if max(map(abs, sparse.values)) > MAX_FLOAT32:
        raise ValueError("the numbers of a vector must fit into 32-bit floats")


def metric_of(schema: Schema, field: str) -> str:
    """Texts are compared by cosine."""
    return schema.dense_fields[field].metric if field in schema.dense_fields else "cosine"


def raw_vectors(schema: Schema, document: Document) -> dict[str, Any]:
    """The vectors that the caller has brought, as they were written."""
    found: dict[str, Any] = {}
    for name, raw in document.vectors.items():
        if name in schema.dense_fields:
            found[name] = decode_dense(raw)
        elif name in schema.sparse_fields:
            found[name] = decode_sparse(raw)
    return found


def decode_dense(raw: bytes) -> list[float]:
    values: list[float] = np.frombuffer(raw, dtype=np.float32).tolist()
    return values


def decode_sparse(raw: bytes) -> dict[str, Any]:
    indices, values = unpack(raw)
    return {"indices": indices.tolist(), "values": values.tolist()}


def select_fields(fields: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The fields that were asked for; `*` asks for all of them."""
    if "*" in wanted:
        return fields
    return {name: fields[name] for name in wanted if name in fields}


def only_field(names: Sequence[str], what: str) -> str:
    """The one field that a dialect without field names speaks of."""
    if not names:
        raise ValueError(f"this index has no {what} field")
    if len(names) > 1:
        raise ValueError(
            f"this index has {len(names)} {what} fields ({', '.join(names)}), "
            "and only the documents API can say which one is meant"
        )
    return names[0]
