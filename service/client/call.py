"""One request, and what is made of its answer: what every call is. Sends nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from service.client.errors import InvalidArgument

T = TypeVar("T")
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and what `read` makes of its answer, or of each event or line of it.

    `repeatable`: doing it twice is the same as once. `long`: body or answer take as long as they
    take, and `timeout` is for each silence.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterator[bytes] | AsyncIterator[bytes] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    long: bool = False
    silence_s: float | None = None  # in place of `timeout`
    answers_with: tuple[int, ...] = (200,)


def encoded(body: Any) -> bytes:
    """Strict JSON: what would become something else on its way is not sent."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"It can't be written as JSON: {exc}") from exc


def given(**members: Any) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in members.items() if value is not None}


def texts(**parameters: Any) -> dict[str, str]:
    """Query parameters, those that say something."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given(**parameters).items()
    }
