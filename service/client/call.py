"""`Call`: one HTTP request, and the function that parses its response. It does no I/O."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from service.client.errors import InvalidArgument

T = TypeVar("T")
JSON, EVENT_STREAM = "application/json", "text/event-stream"

RequestBody = bytes | Iterator[bytes] | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `parse` takes the decoded response, or one event or line of a stream.

    An idempotent call may be sent again after the connection broke. In a streaming call the request
    or the response may take any time; the client's timeout then applies to each read and write.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: RequestBody = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_idempotent: bool = True
    is_streaming: bool = False
    read_timeout_s: float | None = None  # instead of the client's timeout
    success_statuses: tuple[int, ...] = (200,)


def encode_json(body: Any) -> bytes:
    """Strict JSON: no NaN, no infinity, no lone surrogates."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"this can't be written as JSON: {exc}") from exc


def without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def query_parameters(**parameters: Any) -> dict[str, str]:
    """Parameters as text, without those that are None."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in without_none(**parameters).items()
    }
