"""The metrics that are recorded while requests and searches run.

What another part of the service counts anyway is not recorded here: `state.py` reads it when the
metrics are scraped. All label values are from fixed sets, whatever callers send.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector

from service.retrieval.query import Mode
from service.retrieval.receipt import Receipt

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
# Up to the longest timeout of a search, in seconds; an upload or an export may take longer.
LATENCY_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0),
)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

MODES: tuple[Mode, ...] = ("semantic", "lexical", "cascading")
STAGES = ("semantic", "lexical", "rerank", "explain", "highlight")  # that an answer can do without
USAGE = (
    ("read_units", "cascade_search_read_units", "Read units of searches."),
    ("rerank_units", "cascade_search_rerank_units", "Rerank units of searches."),
    ("embed_total_tokens", "cascade_search_embed_tokens", "Tokens of queries that were embedded."),
)


class Metrics:
    """Histograms and counters in a registry of their own, so that each app has its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Histogram(
            "cascade_http_request_duration_seconds",
            "Time from the arrival of a request to the start of its response.",
            ["route", "method", "status"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._stages = Histogram(
            "cascade_search_stage_duration_seconds",
            "Duration of each stage of the searches that were computed.",
            ["mode", "stage", "status"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._degraded = Counter(
            "cascade_search_degraded",
            "Searches that were computed without a stage, by the stage that is missing.",
            ["missing"],
            registry=registry,
        )
        for stage in STAGES:  # so that a rate counts the first increment, too
            self._degraded.labels(stage)
        self._usage: dict[tuple[str, Mode], Counter] = {}
        for unit, name, documentation in USAGE:
            used = Counter(name, documentation, ["mode"], registry=registry)
            self._usage |= {(unit, mode): used.labels(mode) for mode in MODES}
        self._loop_lag = Histogram(
            "cascade_event_loop_lag_seconds",
            "How late the event loop runs a timer: every request waits as long.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        # Looking up a labeled metric here takes a tenth of the time of `labels`.
        self._request_children: dict[tuple[str, str, int], Histogram] = {}
        self._stage_children: dict[tuple[Mode, str, str], Histogram] = {}

    def record_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """`route` is a template out of the URL map."""
        if method not in METHODS:
            method = OTHER_METHOD
        labels = (route, method, status)
        child = self._request_children.get(labels)
        if child is None:
            child = self._request_children[labels] = self._requests.labels(*labels)
        child.observe(seconds)

    @contextlib.contextmanager
    def measured_search(self, mode: Mode) -> Iterator[Receipt]:
        """Record the receipt of the search in this block, also if the search fails.

        A search that fails has stages, but no answer that could be degraded.
        """
        receipt = Receipt()
        try:
            yield receipt
            for stage in receipt.missing:
                self._degraded.labels(stage).inc()
        finally:
            self._record_stages(mode, receipt)

    def record_loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def _record_stages(self, mode: Mode, receipt: Receipt) -> None:
        for stage in receipt.stages:
            labels = (mode, stage.stage, stage.status)
            child = self._stage_children.get(labels)
            if child is None:
                child = self._stage_children[labels] = self._stages.labels(*labels)
            child.observe(stage.ms / 1000)
            for unit, count in stage.usage.items():
                if (used := self._usage.get((unit, mode))) is not None:
                    used.inc(count)

    def families(self) -> Iterable[Metric]:
        return self._registry.collect()
