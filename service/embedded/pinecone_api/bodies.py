"""Decoding of request bodies and parameters into typed structs, and the bodies of errors.

`ValueError` says what is wrong with a request. What passes is valid JSON: no NaN, no lone
surrogates, no keys that are not strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from service.embedded.errors import EngineError
from service.indexes.limits import MAX_IDS, MAX_PAGE, MAX_SPARSE_VALUES, MAX_TOP_K

ShapeT = TypeVar("ShapeT")

GRPC_CODES = {400: 3, 404: 5, 409: 6, 501: 12, 503: 14, 507: 8}
GRPC_INTERNAL = 13

TopK = Annotated[int, Meta(ge=1, le=MAX_TOP_K)]
Limit = Annotated[int, Meta(ge=1, le=MAX_TOP_K)]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Ids = Annotated[list[str], Meta(min_length=1, max_length=MAX_IDS)]
Filter = dict[str, Any]


class Sparse(msgspec.Struct):
    """A sparse vector."""

    indices: Annotated[
        list[Annotated[int, Meta(ge=0, lt=1 << 32)]],
        Meta(min_length=1, max_length=MAX_SPARSE_VALUES),
    ]
    values: list[float]


def read(body: bytes, shape: type[ShapeT]) -> ShapeT:
    """Decode a JSON body."""
    try:
        return msgspec.json.decode(body, type=shape)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except UnicodeError:
        raise ValueError("the body is not UTF-8") from None
    except msgspec.DecodeError as exc:
        raise ValueError(f"the body is invalid: {exc}") from None


def read_parameters(given: Mapping[str, Any], shape: type[ShapeT]) -> ShapeT:
    """Convert query parameters, in which numbers may be strings."""
    return read_value(given, shape, "the parameters are invalid", strict=False)


def read_value(given: Any, shape: type[ShapeT], what: str, *, strict: bool = True) -> ShapeT:
    """Convert a part of a body whose shape depends on the schema."""
    try:
        return msgspec.convert(given, shape, strict=strict)
    except UnicodeError:
        raise ValueError(f"{what}: it is not UTF-8") from None
    except msgspec.ValidationError as exc:
        raise ValueError(f"{what}: {exc}") from None


def pagination(token: str | None) -> dict[str, Any]:
    """The `pagination` part of a response; empty on the last page."""
    return {} if token is None else {"pagination": {"next": token}}


def error_body(error: EngineError) -> dict[str, Any]:
    """The body of an error response, with a gRPC code."""
    code = GRPC_CODES.get(error.status, GRPC_INTERNAL)
    return {"code": code, "message": error.message, "details": []}
