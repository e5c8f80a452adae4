"""One answer for equal questions: those asked at the same time, and those asked shortly after.

Knows nothing of what is asked, nor of HTTP: a question is a namespace and a key, an answer bytes.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from hashlib import sha256
from typing import Generic, Literal, NamedTuple, TypeVar

from service.caching.flights import Flights, Tell
from service.caching.store import Found, Store

Source = Literal["hit", "shared", "miss", "bypass", "off"]
TAG_BYTES = 15
TAG_SIZE = 20  # characters that these are in base64

NewsT = TypeVar("NewsT")
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


class Following(Generic[NewsT, ReceiptT]):
    """What a search tells, and the answer, which is the last.

    It has to be closed by whoever follows: then the search is given up, if nobody else waits.
    """

    def __init__(
        self,
        news: AsyncGenerator[NewsT | Answered[ReceiptT]],
        aboard: contextlib.ExitStack,
    ) -> None:
        self._news = news
        self._aboard = aboard

    def __aiter__(self) -> Following[NewsT, ReceiptT]:
        return self

    async def __anext__(self) -> NewsT | Answered[ReceiptT]:
        return await anext(self._news)

    def close(self) -> None:
        """Can be done at any time, and more than once."""
        self._aboard.close()


Make = Callable[[Tell[NewsT]], Awaitable[Made[ReceiptT]]]
"""A search, which can tell how it is getting on."""


class Answers(Generic[NewsT, ReceiptT]):
    """Answers are kept for `ttl_s`; with 0 they are not, and only shared."""

    def __init__(self, store: Store, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._flights: Flights[NewsT, Answered[ReceiptT]] = Flights()

    async def get(
        self, namespace: str, key: str, make: Make[NewsT, ReceiptT], *, fresh: bool = False
    ) -> Answered[ReceiptT]:
        """The answer to one question; a `fresh` one is searched for now, and by itself."""
        found = await self._store.look_up(namespace, key)
        if fresh:
            made = await self._make(namespace, key, found, make, _nobody_listens)
            return made._replace(source="bypass")
        if (kept := self._kept(found)) is not None:
            return kept
        answered, shared = await self._flights.join(
            (namespace, found.generation, key),
            lambda tell: self._make(namespace, key, found, make, tell),
        )
        return answered._replace(source="shared") if shared else answered

    def follow(
        self, namespace: str, key: str, make: Make[NewsT, ReceiptT], *, fresh: bool = False
    ) -> Following[NewsT, ReceiptT]:
        """The same, and all that the search tells on its way."""
        aboard = contextlib.ExitStack()
        return Following(self._follow(namespace, key, make, fresh, aboard), aboard)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._flights.close()

    async def _follow(
        self,
        namespace: str,
        key: str,
        make: Make[NewsT, ReceiptT],
        fresh: bool,
        aboard: contextlib.ExitStack,
    ) -> AsyncGenerator[NewsT | Answered[ReceiptT]]:
        found = await self._store.look_up(namespace, key)
        if not fresh and (kept := self._kept(found)) is not None:
            yield kept
            return
        flight, shared = aboard.enter_context(
            self._flights.aboard(
                object() if fresh else (namespace, found.generation, key),
                lambda tell: self._make(namespace, key, found, make, tell),
            )
        )
        heard = 0
        while await flight.news.more_than(heard):
            yield flight.news.told[heard]
            heard += 1
        answered = flight.result()
        if fresh:
            answered = answered._replace(source="bypass")
        yield answered._replace(source="shared") if shared else answered

    def _kept(self, found: Found) -> Answered[ReceiptT] | None:
        if found.value is None or not self._ttl_s:
            return None
        tag, payload = found.value[:TAG_SIZE].decode(), found.value[TAG_SIZE:]
        return Answered(payload, tag, "hit", found.age_s)

    async def _make(
        self,
        namespace: str,
        key: str,
        found: Found,
        make: Make[NewsT, ReceiptT],
        tell: Tell[NewsT],
    ) -> Answered[ReceiptT]:
        payload, keep, receipt = await make(tell)
        tag = tag_of(payload)
        if keep and found.settled and self._ttl_s:
            value = tag.encode() + payload
            self._store.keep(namespace, key, found.generation, value, self._ttl_s)
        return Answered(payload, tag, "miss" if self._ttl_s else "off", receipt=receipt)


def _nobody_listens(_: object) -> None:
    """What is told to nobody."""


def tag_of(payload: bytes) -> str:
    """A short name for these bytes and no others."""
    return base64.urlsafe_b64encode(sha256(payload).digest()[:TAG_BYTES]).decode()
