"""One answer for equal questions: those asked at the same time, and those asked shortly after.

Knows nothing of what is asked, nor of HTTP: a question is a namespace and a key, an answer bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Generic, Literal, NamedTuple, TypeVar

from service.caching.flights import Flights
from service.caching.store import Found, Store

Source = Literal["hit", "shared", "miss", "bypass", "off"]
TAG_BYTES = 15
TAG_SIZE = 20  # characters that these are in base64

ReceiptT = TypeVar("ReceiptT")


class Made(NamedTuple, Generic[ReceiptT]):
    """What a search came to. The receipt is for those who wait now; it is not kept."""

    payload: bytes
    keep: bool
    receipt: ReceiptT


class Answered(NamedTuple, Generic[ReceiptT]):
    """A payload, a tag that is another one for any other payload, and where it comes from."""

    payload: bytes
    tag: str
    source: Source
    age_s: float = 0.0
    receipt: ReceiptT | None = None


Make = Callable[[], Awaitable[Made[ReceiptT]]]


class Answers(Generic[ReceiptT]):
    """Answers are kept for `ttl_s`; with 0 they are not, and only shared."""

    def __init__(self, store: Store, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._flights: Flights[Answered[ReceiptT]] = Flights()

    async def get(
        self, namespace: str, key: str, make: Make[ReceiptT], *, fresh: bool = False
    ) -> Answered[ReceiptT]:
        """The answer to one question; a `fresh` one is searched for now, and by itself."""
        found = await self._store.look_up(namespace, key)
        if fresh:
            return (await self._make(namespace, key, found, make))._replace(source="bypass")
        if found.value is not None and self._ttl_s:
            tag, payload = found.value[:TAG_SIZE].decode(), found.value[TAG_SIZE:]
            return Answered(payload, tag, "hit", found.age_s)
        answered, shared = await self._flights.join(
            (namespace, found.generation, key), lambda: self._make(namespace, key, found, make)
        )
        return answered._replace(source="shared") if shared else answered

    async def close(self) -> None:
        """Give up what is under way."""
        await self._flights.close()

    async def _make(
        self, namespace: str, key: str, found: Found, make: Make[ReceiptT]
    ) -> Answered[ReceiptT]:
        payload, keep, receipt = await make()
        tag = tag_of(payload)
        if keep and found.settled and self._ttl_s:
            value = tag.encode() + payload
            self._store.keep(namespace, key, found.generation, value, self._ttl_s)
        return Answered(payload, tag, "miss" if self._ttl_s else "off", receipt=receipt)


def tag_of(payload: bytes) -> str:
    """A short name for these bytes and no others."""
    return base64.urlsafe_b64encode(sha256(payload).digest()[:TAG_BYTES]).decode()
