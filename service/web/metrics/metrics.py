"""The metrics that are recorded while requests and searches run.

What another part of the service counts anyway is not recorded here: `state.py` reads it when the
metrics are scraped. All label values are from fixed sets, whatever callers send.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from prometheus_client import Metric

from service.retrieval.query import Mode
from service.retrieval.receipt import Receipt
from service.web.metrics.process import ProcessMetrics
from service.web.metrics.recorded import RecordedCounter, RecordedHistogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
MODES: tuple[Mode, ...] = ("semantic", "lexical", "cascading")
STAGES = ("semantic", "lexical", "rerank", "explain", "highlight")  # that an answer can do without
# Up to the longest timeout of a search, in seconds; an upload or an export may take longer.
LATENCY_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0),
)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
USAGE = (
    ("read_units", "cascade_search_read_units", "Read units of searches."),
    ("rerank_units", "cascade_search_rerank_units", "Rerank units of searches."),
    ("embed_total_tokens", "cascade_search_embed_tokens", "Tokens of queries that were embedded."),
)


class Metrics:
    """What one app has recorded. Its methods are for the thread of the event loop."""

    def __init__(self) -> None:
        self._process = ProcessMetrics()
        self._requests = RecordedHistogram(
            "cascade_http_request_duration_seconds",
            "Time from the arrival of a request to the start of its response.",
            ["route", "method", "status"],
            LATENCY_BUCKETS,
        )
        self._stages = RecordedHistogram(
            "cascade_search_stage_duration_seconds",
            "Duration of each stage of the searches that were computed.",
            ["mode", "stage", "status"],
            LATENCY_BUCKETS,
        )
        self._degraded = RecordedCounter(
            "cascade_search_degraded",
            "Searches that were computed without a stage, by the stage that is missing.",
            ["missing"],
        )
        self._usage = {
            unit: RecordedCounter(name, documentation, ["mode"])
            for unit, name, documentation in USAGE
        }
        self._loop_lag = RecordedHistogram(
            "cascade_event_loop_lag_seconds",
            "How late the event loop runs a timer: every request waits as long.",
            [],
            LAG_BUCKETS,
        )
        self._report_zeros()

    def record_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """`route` is a template out of the URL map."""
        if method not in METHODS:
            method = OTHER_METHOD
        self._requests.observe((route, method, status), seconds)

    def measured_search(self, mode: Mode) -> MeasuredSearch:
        """A context whose receipt is recorded at its end, also if the search fails."""
        return MeasuredSearch(self, mode)

    def record_search(self, mode: Mode, receipt: Receipt) -> None:
        """Record the stages of a search, and what they have used."""
        for stage in receipt.stages:
            self._stages.observe((mode, stage.stage, stage.status), stage.ms / 1000)
            for unit, count in stage.usage.items():
                if unit in self._usage:
                    self._usage[unit].add((mode,), count)

    def record_missing(self, stage: str) -> None:
        """Record an answer that lacks a stage."""
        self._degraded.add((stage,))

    def record_loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe((), seconds)

    def families(self) -> Iterator[Metric]:
        """Any thread may call it."""
        yield from self._process.families()
        yield self._requests.family()
        yield self._stages.family()
        yield self._degraded.family()
        for used in self._usage.values():
            yield used.family()
        yield self._loop_lag.family()

    def _report_zeros(self) -> None:
        """Report counters before they count, so that a rate has the first increment, too."""
        for stage in STAGES:
            self._degraded.add((stage,), 0)
        for used in self._usage.values():
            for mode in MODES:
                used.add((mode,), 0)
        self._loop_lag.prepare(())


class MeasuredSearch:
    """One search, from the start of the block to its end.

    A search that fails has stages, but no answer that could lack any.
    """

    __slots__ = ("_metrics", "_mode", "_receipt")

    def __init__(self, metrics: Metrics, mode: Mode) -> None:
        self._metrics = metrics
        self._mode = mode

    def __enter__(self) -> Receipt:
        self._receipt = Receipt()
        return self._receipt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._metrics.record_search(self._mode, self._receipt)
        if error is None:
            for stage in self._receipt.missing:
                self._metrics.record_missing(stage)
