"""Where answers are kept: what a store of them can do, whatever it is made of.

Two jobs. Answers to searches belong to a namespace, and a write to it makes all of them useless at
once: each namespace has a *generation*, which a write replaces, and an answer is good in the
generation that was read before its search began, and in no other. And values under a plain key,
which nothing but time makes useless.

No call raises, and none takes long: a store that is in trouble has nothing and keeps nothing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Found(NamedTuple):
    """What a store knows of one answer.

    `settled` is whether what is searched now may be kept: for a while after a write, a search may
    still find what was there before.
    """

    generation: str
    value: bytes | None
    age_s: float
    settled: bool


class Store(Protocol):
    """Keeps bytes, up to a bound, until their time is over."""

    async def open(self, scope: str) -> None:
        """`scope` names what is searched: what is kept of anything else is never found."""

    async def close(self) -> None: ...

    async def look_up(self, namespace: str, key: str) -> Found: ...

    def keep(
        self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float
    ) -> None: ...

    async def wrote(self, namespace: str) -> None:
        """From the return of this call on, no older answer of that namespace is found."""

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep a value; whether it can be hoped that `get` finds it."""
        ...

    async def get(self, key: str) -> bytes | None: ...
