"""Collects all metrics for a scrape, in the format that the scraper asks for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service.errors import JobsUnavailable
from service.jobs.job import Status
from service.web.metrics.loop_lag import measured_loop_lag
from service.web.metrics.state import Sources, gauges, import_families
from service.web.metrics.workers import WorkerGroup, answering, ask_others, merge

IMPORTS_TIMEOUT_S = 2.0

T = TypeVar("T")


class Scrape(NamedTuple):
    """The text of all metrics, and its media type."""

    body: bytes
    content_type: str


class Exposition:
    """The metrics of this process and of the others in its group, collected in a thread.

    Those of the database of imports are the same in every worker, so only the one that is asked
    reports them.
    """

    def __init__(self, sources: Sources, group: WorkerGroup | None) -> None:
        self._sources = sources
        self._group = group
        self._thread: ThreadPoolExecutor | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Measure the event loop, and answer the other workers, until the end of the block."""
        lag = measured_loop_lag(self._sources.metrics.record_loop_lag)
        with ThreadPoolExecutor(1, "metrics") as self._thread, lag:
            if self._group is None:
                yield
            else:
                async with answering(self._group, self._own):
                    yield

    async def scrape(self, accept: str) -> Scrape:
        """The metrics of all workers, in the format of the Accept header."""
        if self._group is None:
            own, imports = await asyncio.gather(self._own(), self._import_counts())
            families = own
        else:
            own, imports, others = await asyncio.gather(
                self._own(), self._import_counts(), ask_others(self._group)
            )
            answered = {number: each for number, each in others.items() if each is not None}
            by_worker = {self._group.number: own, **answered}
            families = merge(dict(sorted(by_worker.items())))
            up = {str(number): number in by_worker for number in range(1, self._group.count + 1)}
            families.append(
                gauges("cascade_worker_up", "Whether a worker has answered.", "worker", up)
            )
        encode, content_type = choose_encoder(accept)
        collected = _Collected([*families, *import_families(imports)])
        return Scrape(await self._run(lambda: encode(collected)), content_type)

    async def _own(self) -> list[Metric]:
        return await self._run(lambda: list(self._sources.families()))

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _import_counts(self) -> Mapping[Status, int] | None:
        try:
            async with asyncio.timeout(IMPORTS_TIMEOUT_S):
                return await self._sources.jobs.counts()
        except (TimeoutError, JobsUnavailable):
            return None


class _Collected(Collector):
    """Families that were collected before."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
