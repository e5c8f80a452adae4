"""Histograms and counters of our own report what prometheus_client's report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from service.web.metrics.recorded import RecordedCounter, RecordedHistogram

BOUNDS = (0.001, 0.5, 1.0, 25.0)
NAMES = ("route", "status")
LABELS = st.tuples(st.sampled_from(["/a", '/"\\\n{é}']), st.sampled_from([200, 404]))
VALUES = st.one_of(st.sampled_from([0.0, *BOUNDS]), st.floats(0, 1e6))


class Single(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]


def lines(collector: Collector) -> list[str]:
    """The lines of a scrape but for the time at which each series began."""
    text = generate_latest(collector).decode()
    return sorted(line for line in text.splitlines() if "_created" not in line)


@given(st.lists(st.tuples(LABELS, VALUES)))
def test_recorded_histogram_equals_that_of_the_library(
    observed: list[tuple[tuple[str, int], float]],
) -> None:
    registry = CollectorRegistry()
    theirs = Histogram("a_seconds", "Doc.", NAMES, buckets=BOUNDS, registry=registry)
    ours = RecordedHistogram("a_seconds", "Doc.", NAMES, BOUNDS)
    for labels, value in observed:
        theirs.labels(*labels).observe(value)
        ours.observe(labels, value)
    assert lines(Single(ours.family())) == lines(registry)


@given(st.lists(st.tuples(LABELS, st.integers(0, 1000))))
def test_recorded_counter_equals_that_of_the_library(
    added: list[tuple[tuple[str, int], int]],
) -> None:
    registry = CollectorRegistry()
    theirs = Counter("a", "Doc.", NAMES, registry=registry)
    ours = RecordedCounter("a", "Doc.", NAMES)
    for labels, count in added:
        theirs.labels(*labels).inc(count)
        ours.add(labels, count)
    assert lines(Single(ours.family())) == lines(registry)
