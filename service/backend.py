"""The searches that an app serves, and everything that has to be open for them.

Knows nothing of HTTP. `opened` opens the registry and the reranker; before it and after it, a
search is answered with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.errors import RequestError, StartupFailed, Unavailable, UpstreamTimeout
from service.indexes.pinecone import IndexSpec, Kind, OpenLane, open_lane, ping
from service.indexes.pool import opened
from service.indexes.registry import Index, Registry
from service.inference.pinecone import MAX_DOCUMENTS, PineconeReranker, check_model, reranker_pool
from service.retrieval.cascade import cascade
from service.retrieval.deadline import Deadline
from service.retrieval.legs import Leg
from service.retrieval.query import Event, Mode, Query
from service.settings import Settings

LEGS: dict[str, Kind] = {"semantic": "dense", "lexical": "sparse"}
READY_TIMEOUT_S = 3.0
READY_FOR_S = 1.0  # how long an answer to "are you ready" holds


@dataclass(frozen=True, slots=True)
class Health:
    """Whether one index answers."""

    index: str
    error: str | None


class Backend:
    """Pinecone, as the settings describe it."""

    def __init__(self, settings: Settings, open_lane: OpenLane = open_lane) -> None:
        if settings.backend != "pinecone" or settings.pinecone_api_key is None:
            raise StartupFailed(
                "No Pinecone settings: set PINECONE_API_KEY, PINECONE_DENSE_INDEX_HOST and "
                "PINECONE_SPARSE_INDEX_HOST (or PINECONE_DENSE_INDEX and PINECONE_SPARSE_INDEX). "
                "An engine that needs none is on its way"
            )
        check_model(settings.pinecone_rerank_model)
        self._settings = settings
        if settings.pinecone_top_k > self.max_reranked:
            raise StartupFailed(
                f"PINECONE_TOP_K: {settings.pinecone_top_k} is more than "
                f"{settings.pinecone_rerank_model} can rerank ({self.max_reranked})"
            )
        self._api_key = settings.pinecone_api_key.get_secret_value()
        self._registry = Registry(
            [_spec(settings, "dense"), _spec(settings, "sparse")],
            api_key=self._api_key,
            controller_host=settings.pinecone_controller_host,
            lanes=settings.pinecone_lanes,
            calls=settings.pinecone_lane_calls,
            open_lane=open_lane,
        )
        self._reranker: PineconeReranker | None = None
        self._legs: dict[Mode, tuple[Leg, ...]] = {}
        self._health: tuple[float, list[Health]] = (0.0, [])
        self._asking = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Backend]:
        """Open all of it, within the time that start-up may take; close it in reverse."""
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(settings.startup_timeout_s):
                    await stack.enter_async_context(self._registry.opened())
            except TimeoutError:
                raise StartupFailed(
                    f"The indexes did not answer within STARTUP_TIMEOUT_S "
                    f"({settings.startup_timeout_s:g} s); check the hosts and the network"
                ) from None
            lanes = reranker_pool(
                self._api_key,
                settings.pinecone_controller_host,
                settings.pinecone_lanes,
                settings.pinecone_lane_calls,
            )
            await stack.enter_async_context(opened(lanes))
            self._reranker = PineconeReranker(settings.pinecone_rerank_model, lanes)
            semantic, lexical = (self._leg(name) for name in LEGS)
            self._legs = {
                "semantic": (semantic,),
                "lexical": (lexical,),
                "cascading": (semantic, lexical),
            }
            stack.callback(self._legs.clear)
            yield self

    @property
    def max_reranked(self) -> int:
        """How many results the rerank model can bring into order."""
        return MAX_DOCUMENTS[self._settings.pinecone_rerank_model]

    def search(self, mode: Mode, query: Query, deadline: Deadline) -> AsyncIterator[Event]:
        """The events of one search, the last of which has the answer."""
        if self._reranker is None or mode not in self._legs:
            raise Unavailable("The service is not open; it is starting, stopping, or misassembled")
        return cascade(query, self._legs[mode], self._reranker, deadline)

    async def health(self) -> list[Health]:
        """Ask each index; callers at the same time, and shortly after, share one round of calls."""
        async with self._asking:
            asked_at, health = self._health
            if not health or time.monotonic() - asked_at > READY_FOR_S:
                health = list(
                    await asyncio.gather(*(self._check(index) for index in self._registry.all()))
                )
                self._health = (time.monotonic(), health)
            return health

    def _leg(self, name: str) -> Leg:
        index = self._registry[LEGS[name]]
        return Leg(name, index.dialect, index.pool, self._settings.pinecone_text_field)

    async def _check(self, index: Index) -> Health:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await index.pool.call(ping)
        except RequestError as exc:
            return Health(index.name, exc.code)
        except TimeoutError:
            return Health(index.name, UpstreamTimeout.code)
        return Health(index.name, None)


def _spec(settings: Settings, kind: Kind) -> IndexSpec:
    dense = kind == "dense"
    return IndexSpec(
        kind=kind,
        host=settings.pinecone_dense_index_host if dense else settings.pinecone_sparse_index_host,
        name=settings.pinecone_dense_index if dense else settings.pinecone_sparse_index,
        dialect=settings.pinecone_dialect,
        field=settings.pinecone_dense_field if dense else settings.pinecone_sparse_field,
        text_field=settings.pinecone_text_field,
        sparse_clause=settings.pinecone_sparse_clause,
    )
