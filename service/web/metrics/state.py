"""Metrics that are read from the parts of the service when they are scraped."""

from __future__ import annotations

import logging
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.admission.controller import AdmissionController
from service.backends.search_backend import SearchBackend
from service.caching.answer_cache import AnswerCache, Source
from service.caching.store import CacheStore
from service.jobs.imported_records import ImportedRecords
from service.jobs.job import Status
from service.jobs.jobs import Jobs
from service.version import VERSION
from service.web.metrics.metrics import Metrics
from service.web.metrics.middleware import RequestMetrics

if TYPE_CHECKING:  # the engine takes long to import, and Pinecone needs none of it
    from service.embedded.engine_state import EngineState

logger = logging.getLogger(__name__)

SOURCES: tuple[Source, ...] = ("hit", "shared", "miss", "bypass", "off")


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of one process that have something to report."""

    backend_name: str
    metrics: Metrics
    requests: RequestMetrics
    admission: AdmissionController
    answers: AnswerCache[Any, Any]
    store: CacheStore
    backend: SearchBackend
    jobs: Jobs

    def families(self) -> Iterator[Metric]:
        """Call it in a thread: it reads from the disk."""
        yield build_info(self.backend_name)
        yield from self.metrics.families()
        yield requests_in_progress(self.requests.in_progress)
        yield from admission_families(self.admission)
        yield from cache_families(self.answers.answers, self.store)
        yield from upstream_families(self.backend)
        yield import_records_family(self.jobs.imported)
        yield from engine_families(self.backend)


def gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


UPSTREAM_COUNTERS = (
    ("cascade_upstream_reads", "Reads, with those that the circuit breaker rejected.", "calls"),
    ("cascade_upstream_reads_rejected", "Reads that the circuit breaker rejected.", "rejected"),
    ("cascade_upstream_hedges", "Second attempts of reads that were slow.", "hedges"),
    ("cascade_upstream_retries", "Second attempts of reads that failed.", "retries"),
)
"""The name, the description and the attribute of each count of the reads of an upstream."""


def gauges(name: str, documentation: str, label: str, values: Mapping[Any, float]) -> Metric:
    """A gauge with one label."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family


def counters(name: str, documentation: str, label: str, values: Mapping[Any, float]) -> Metric:
    """A counter with one label."""
    family = CounterMetricFamily(name, documentation, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family


def build_info(backend: str) -> Metric:
    labels = {"version": VERSION, "python": platform.python_version(), "backend": backend}
    documentation = "The version of the service. The value is always 1."
    family = GaugeMetricFamily("cascade_build_info", documentation, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def requests_in_progress(by_route: Mapping[str, int]) -> Metric:
    return gauges(
        "cascade_http_requests_in_progress",
        "Requests, streams and WebSockets that are open.",
        "route",
        dict(by_route),
    )


def admission_families(admission: AdmissionController) -> Iterator[Metric]:
    yield gauge("cascade_admission_slots_in_use", "Slots that requests hold.", admission.in_use)
    yield gauge(
        "cascade_admission_slots_limit",
        "Slots that there are, which adapts to the load.",
        admission.limit.current,
    )
    yield gauge(
        "cascade_admission_queue_length", "Requests that wait for a slot.", len(admission.queue)
    )
    yield counter(
        "cascade_admission_admitted", "Requests that have got a slot.", admission.admitted
    )
    yield counter(
        "cascade_admission_rejected",
        "Requests that were rejected because of overload.",
        admission.rejected,
    )


def cache_families(answers: Mapping[Source, int], store: CacheStore) -> Iterator[Metric]:
    yield counters(
        "cascade_cache_answers",
        "Answers of searches by their source: stored (hit), joined (shared) or computed.",
        "source",
        {source: answers.get(source, 0) for source in SOURCES},
    )
    size_bytes, is_connected = store.state
    if size_bytes is not None:
        yield gauge(
            "cascade_cache_size_bytes", "Memory of cached answers and rankings.", size_bytes
        )
    if is_connected is not None:
        yield gauge(
            "cascade_cache_redis_up", "Whether the cache is connected to Redis.", is_connected
        )


def upstream_families(backend: SearchBackend) -> Iterator[Metric]:
    """The reads of each upstream; none with the embedded engine."""
    upstreams = backend.upstreams
    if not upstreams:
        return
    for name, documentation, count in UPSTREAM_COUNTERS:
        values = {upstream: getattr(each.counts, count) for upstream, each in upstreams.items()}
        yield counters(name, documentation, "upstream", values)
    yield gauges(
        "cascade_upstream_circuit_open",
        "Whether the circuit breaker rejects reads.",
        "upstream",
        {name: each.is_circuit_open for name, each in upstreams.items()},
    )
    yield gauges(
        "cascade_upstream_calls_in_flight",
        "Calls in flight, writes and hedges included.",
        "upstream",
        {name: each.in_flight for name, each in upstreams.items()},
    )


def import_records_family(imported: ImportedRecords) -> Metric:
    return counters(
        "cascade_import_records",
        "Records of imports, up to the last checkpoint of each.",
        "outcome",
        {"written": imported.written, "failed": imported.failed},
    )


def import_families(counts: Mapping[Status, float] | None) -> Iterator[Metric]:
    """`counts` are the jobs in each state; None if the database does not answer."""
    yield gauge(
        "cascade_imports_up", "Whether the database of the imports answers.", counts is not None
    )
    if counts is not None:
        yield gauges("cascade_imports", "Imports in each state.", "status", counts)


def engine_families(backend: SearchBackend) -> Iterator[Metric]:
    """The state of the embedded engine; nothing while it can't be read. Reads from the disk."""
    try:
        state = backend.engine_state()
    except (OSError, sqlite3.Error) as exc:
        logger.warning("the state of the engine can't be read: %s", exc)
        return
    if state is not None:
        yield from _engine_families(state)


def _engine_families(state: EngineState) -> Iterator[Metric]:
    yield gauge("cascade_engine_records", "Records that searches see.", state.records)
    yield gauges(
        "cascade_engine_size_bytes",
        "Size of the index on the disk.",
        "part",
        state.bytes_by_part,
    )
    yield gauge("cascade_engine_disk_free_bytes", "Free space on the disk.", state.free_bytes)
    yield gauge(
        "cascade_engine_disk_reserve_bytes",
        "Free space below which new records are refused.",
        state.reserve_bytes,
    )
    views = {view.name.removeprefix("the "): view for view in state.views}
    yield gauges(
        "cascade_engine_view_pending_changes",
        "Changes that a view has yet to apply.",
        "view",
        {name: view.pending_changes for name, view in views.items()},
    )
    yield gauges(
        "cascade_engine_view_complete",
        "Whether searches can use a view; it is 0 while it is rebuilt.",
        "view",
        {name: view.is_complete for name, view in views.items()},
    )
    yield gauges(
        "cascade_engine_view_failing",
        "Whether a view can't be updated or saved at present.",
        "view",
        {name: view.is_failing for name, view in views.items()},
    )
