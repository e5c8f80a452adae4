"""What may stand in a document: ids, fields, vectors. `ValueError` says what may not, and why.

The limits are Pinecone's, so that what is written here can be written there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from service.embedded.drafts import Draft
from service.embedded.index import EmbeddedIndex
from service.embedded.ranking import Vector
from service.embedded.schema import Schema
from service.embedded.sparse import pack, unpack
from service.embedded.store import Document
from service.indexes.filters import shown

MAX_ID = 512
MAX_FIELDS_BYTES = 40_960
MAX_NONZERO = 2_048
DEFAULT_NAMESPACE = "__default__"


def namespace_of(given: str | None) -> str:
    """The default namespace has two names, and one is enough."""
    name = given or DEFAULT_NAMESPACE
    if len(name) > MAX_ID or not name.isascii() or "\0" in name:
        raise ValueError(f"a namespace has at most {MAX_ID} ASCII characters")
    return name


def checked_id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise ValueError(f"an id is a text of 1 to {MAX_ID} characters")
    if not value.isascii() or "\0" in value:
        raise ValueError(f"the id {shown(value)} has characters that are not ASCII, or NUL")
    return value


def checked_fields(id: str, fields: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    """Refuse what a filter could not speak of; texts that are searched may be longer."""
    for name, value in fields.items():
        if name.startswith("$"):
            raise ValueError(f"record {shown(id)}: the field {shown(name)} can't start with $")
        if name in texts:
            if not isinstance(value, str):
                raise ValueError(f"record {shown(id)}: the field {shown(name)} must be a text")
        elif not _is_value(value):
            raise ValueError(
                f"record {shown(id)}: the field {shown(name)} must be a text, a finite number, "
                "true, false or a list of texts"
            )
    others = {name: value for name, value in fields.items() if name not in texts}
    try:
        size = len(orjson.dumps(others))
        orjson.dumps([fields.get(name) for name in texts])
    except TypeError as exc:  # a number of more than 64 bits, half of a surrogate pair
        raise ValueError(f"record {shown(id)} can't be written as JSON: {exc}") from exc
    if size > MAX_FIELDS_BYTES:
        raise ValueError(f"record {shown(id)}: its fields have more than {MAX_FIELDS_BYTES} bytes")


def _is_value(value: Any) -> bool:
    if isinstance(value, str | bool):
        return True
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def dense_vector(values: Any, dimension: int, metric: str) -> Vector:
    """A vector that the caller brings."""
    try:
        vector: Vector = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        vector = np.empty(0, dtype=np.float32)
    if vector.ndim != 1 or not len(vector):
        raise ValueError("a dense vector is a list of numbers")
    if len(vector) != dimension:
        raise ValueError(
            f"Vector dimension {len(vector)} does not match the dimension of the index {dimension}"
        )
    if not np.isfinite(vector).all():
        raise ValueError("a dense vector has finite numbers only")
    if metric == "cosine" and not vector.any():
        raise ValueError("a dense vector must have at least one value that is not zero")
    return vector


def sparse_vector(given: Any) -> bytes:
    """A sparse vector that the caller brings, as it is stored."""
    indices, values = sparse_parts(given)
    return pack(indices, values)


def sparse_parts(given: Any) -> tuple[list[int], list[float]]:
    indices = given.get("indices") if isinstance(given, Mapping) else None
    values = given.get("values") if isinstance(given, Mapping) else None
    if not isinstance(indices, list) or not isinstance(values, list):
        raise ValueError('a sparse vector is an object such as {"indices": [7], "values": [0.5]}')  # noqa: TRY004
    if len(indices) != len(values) or not 0 < len(indices) <= MAX_NONZERO:
        raise ValueError(f"a sparse vector has as many values as indices, from 1 to {MAX_NONZERO}")
    if not all(type(index) is int and 0 <= index < 1 << 32 for index in indices):
        raise ValueError("the indices of a sparse vector are whole numbers below 4294967296")
    if not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        raise ValueError("the values of a sparse vector are finite numbers")
    return indices, values


def metric_of(schema: Schema, field: str) -> str:
    return schema.dense[field].metric if field in schema.dense else "cosine"


def draft_of(index: EmbeddedIndex, given: Mapping[str, Any]) -> Draft:
    """A document as it is written in the documents dialect: its vectors stand among its fields."""
    schema = index.schema
    id = checked_id(given.get("_id"))
    fields = {name: value for name, value in given.items() if name != "_id"}
    vectors: dict[str, bytes] = {}
    for name in schema.dense.keys() & fields.keys():
        vector = dense_vector(fields.pop(name), index.dimensions[name], metric_of(schema, name))
        vectors[name] = vector.tobytes()
    for name in set(schema.sparse) & fields.keys():
        vectors[name] = sparse_vector(fields.pop(name))
    checked_fields(id, fields, schema.texts)
    if missing := [name for name in schema.dense if name not in vectors]:
        raise ValueError(f"record {shown(id)} lacks the field {shown(missing[0])}, a dense vector")
    if missing := [name for name in schema.embedded if name not in fields]:
        raise ValueError(f"record {shown(id)} lacks the field {shown(missing[0])}, a text")
    if not vectors and not schema.texts.keys() & fields.keys():
        raise ValueError(f"record {shown(id)} has none of the fields that can be searched")
    return Draft(id, fields, vectors)


def raw_vectors(schema: Schema, document: Document) -> dict[str, Any]:
    """The vectors that the caller has brought, as they were written."""
    found: dict[str, Any] = {}
    for name, raw in document.vectors.items():
        if name in schema.dense:
            found[name] = dense_list(raw)
        elif name in schema.sparse:
            found[name] = sparse_dict(raw)
    return found


def dense_list(raw: bytes) -> list[float]:
    values: list[float] = np.frombuffer(raw, dtype=np.float32).tolist()
    return values


def sparse_dict(raw: bytes) -> dict[str, Any]:
    indices, values = unpack(raw)
    return {"indices": indices.tolist(), "values": values.tolist()}


def only(names: Sequence[str], what: str) -> str:
    """The one field that a dialect without field names speaks of."""
    if len(names) != 1:
        raise ValueError(
            f"this index has {len(names) or 'no'} {what} fields; "
            "the documents API can say which one is meant"
        )
    return names[0]
