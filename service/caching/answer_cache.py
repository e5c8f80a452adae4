"""A cache of answers: equal requests share one computation, and later ones its stored result.

A request is identified by a namespace and a key, an answer is bytes.
"""

from __future__ import annotations

import base64
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from hashlib import sha256
from typing import Generic, Literal, NamedTuple, TypeVar

from service.caching.single_flight import Publish, SingleFlight
from service.caching.store import CacheLookup, CacheStore

Source = Literal["hit", "shared", "miss", "bypass", "off"]
TAG_BYTES = 15
TAG_SIZE = 20  # characters of a tag in base64

EventT = TypeVar("EventT")
ReceiptT = TypeVar("ReceiptT")


class ComputedAnswer(NamedTuple, Generic[ReceiptT]):
    """The result of a computation. The receipt is for present callers, and is not stored."""

    payload: bytes
    is_cacheable: bool
    receipt: ReceiptT


class Answer(NamedTuple, Generic[ReceiptT]):
    """A payload with a tag that is unique to it, and where it came from."""

    payload: bytes
    tag: str
    source: Source
    age_s: float = 0.0
    receipt: ReceiptT | None = None


class AnswerSubscription(Generic[EventT, ReceiptT]):
    """Iterates over the events of a computation; the last item is the answer.

    Close it: if no other caller waits for the computation, that cancels it.
    """

    def __init__(
        self,
        items: AsyncGenerator[EventT | Answer[ReceiptT]],
        membership: contextlib.ExitStack,
    ) -> None:
        self._items = items
        self._membership = membership

    def __aiter__(self) -> AnswerSubscription[EventT, ReceiptT]:
        return self

    async def __anext__(self) -> EventT | Answer[ReceiptT]:
        return await anext(self._items)

    def close(self) -> None:
        """Idempotent; may be called at any time."""
        self._membership.close()


ComputeAnswer = Callable[[Publish[EventT]], Awaitable[ComputedAnswer[ReceiptT]]]
"""Computes an answer, and may publish events on the way."""


class AnswerCache(Generic[EventT, ReceiptT]):
    """Stores answers for `ttl_s`; with 0, answers are shared but not stored.

    `answers` counts them by their source.
    """

    def __init__(self, store: CacheStore, ttl_s: float) -> None:
        self.answers: Counter[Source] = Counter()
        self._store = store
        self._ttl_s = ttl_s
        self._calls: SingleFlight[EventT, Answer[ReceiptT]] = SingleFlight()

    async def get(
        self,
        namespace: str,
        key: str,
        compute: ComputeAnswer[EventT, ReceiptT],
        *,
        fresh: bool = False,
    ) -> Answer[ReceiptT]:
        """Return a stored, shared or new answer; `fresh` computes a new one in any case."""
        lookup = await self._store.look_up(namespace, key)
        if fresh:
            answer = await self._compute(namespace, key, lookup, compute, _discard)
            return self._counted(answer._replace(source="bypass"))
        if (stored := self._stored(lookup)) is not None:
            return self._counted(stored)
        answer, is_shared = await self._calls.run(
            (namespace, lookup.generation, key),
            lambda publish: self._compute(namespace, key, lookup, compute, publish),
        )
        return self._counted(answer._replace(source="shared") if is_shared else answer)

    def subscribe(
        self,
        namespace: str,
        key: str,
        compute: ComputeAnswer[EventT, ReceiptT],
        *,
        fresh: bool = False,
    ) -> AnswerSubscription[EventT, ReceiptT]:
        """Like `get`, with the events of the computation before the answer."""
        membership = contextlib.ExitStack()
        items = self._items(namespace, key, compute, fresh, membership)
        return AnswerSubscription(items, membership)

    async def close(self) -> None:
        """Cancel the computations in progress."""
        await self._calls.close()

    async def _items(
        self,
        namespace: str,
        key: str,
        compute: ComputeAnswer[EventT, ReceiptT],
        fresh: bool,
        membership: contextlib.ExitStack,
    ) -> AsyncGenerator[EventT | Answer[ReceiptT]]:
        lookup = await self._store.look_up(namespace, key)
        if not fresh and (stored := self._stored(lookup)) is not None:
            yield self._counted(stored)
            return
        call, is_shared = membership.enter_context(
            self._calls.join(
                object() if fresh else (namespace, lookup.generation, key),
                lambda publish: self._compute(namespace, key, lookup, compute, publish),
            )
        )
        seen = 0
        while await call.log.wait_for_more(seen):
            yield call.log.events[seen]
            seen += 1
        answer = call.result()
        if fresh:
            answer = answer._replace(source="bypass")
        yield self._counted(answer._replace(source="shared") if is_shared else answer)

    def _counted(self, answer: Answer[ReceiptT]) -> Answer[ReceiptT]:
        self.answers[answer.source] += 1
        return answer

    def _stored(self, lookup: CacheLookup) -> Answer[ReceiptT] | None:
        if lookup.value is None or not self._ttl_s:
            return None
        tag, payload = lookup.value[:TAG_SIZE].decode(), lookup.value[TAG_SIZE:]
        return Answer(payload, tag, "hit", lookup.age_s)

    async def _compute(
        self,
        namespace: str,
        key: str,
        lookup: CacheLookup,
        compute: ComputeAnswer[EventT, ReceiptT],
        publish: Publish[EventT],
    ) -> Answer[ReceiptT]:
        payload, is_cacheable, receipt = await compute(publish)
        tag = payload_tag(payload)
        if is_cacheable and lookup.is_settled and self._ttl_s:
            value = tag.encode() + payload
            self._store.keep(namespace, key, lookup.generation, value, self._ttl_s)
        return Answer(payload, tag, "miss" if self._ttl_s else "off", receipt=receipt)


def _discard(_: object) -> None:
    """Receives events that have no subscriber."""


def payload_tag(payload: bytes) -> str:
    """A short digest of the payload, for an ETag."""
    return base64.urlsafe_b64encode(sha256(payload).digest()[:TAG_BYTES]).decode()
