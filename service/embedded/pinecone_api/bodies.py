"""What comes in: JSON or parameters, read into the shape that a request must have.

`ValueError` says what is wrong with it. Whatever is behind this line is JSON: no NaN, no half of a
surrogate pair, no key that is not a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

ShapeT = TypeVar("ShapeT")

MAX_TOP_K, MAX_IDS, MAX_WRITTEN, PAGE = 10_000, 1_000, 1_000, 100

TopK = Annotated[int, Meta(ge=1, le=MAX_TOP_K)]
Limit = Annotated[int, Meta(ge=1, le=MAX_TOP_K)]
PageSize = Annotated[int, Meta(ge=1, le=PAGE)]
Ids = Annotated[list[str], Meta(min_length=1, max_length=MAX_IDS)]
Filter = dict[str, Any]


class Sparse(msgspec.Struct):
    """A sparse vector as it is written."""

    indices: Annotated[
        list[Annotated[int, Meta(ge=0, lt=1 << 32)]], Meta(min_length=1, max_length=2_048)
    ]
    values: list[float]


def read(body: bytes, shape: type[ShapeT]) -> ShapeT:
    try:
        return msgspec.json.decode(body, type=shape)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except UnicodeError:
        raise ValueError("the body is not UTF-8") from None
    except msgspec.DecodeError as exc:
        raise ValueError(f"the body can't be used: {exc}") from None


def read_parameters(given: Mapping[str, Any], shape: type[ShapeT]) -> ShapeT:
    """Of an address: numbers may be texts there."""
    return read_value(given, shape, "the parameters can't be used", strict=False)


def read_value(given: Any, shape: type[ShapeT], what: str, *, strict: bool = True) -> ShapeT:
    """A part of a body, whose shape depends on the index."""
    try:
        return msgspec.convert(given, shape, strict=strict)
    except UnicodeError:
        raise ValueError(f"{what}: it is not UTF-8") from None
    except msgspec.ValidationError as exc:
        raise ValueError(f"{what}: {exc}") from None
