"""Histograms and counters that cost little to record.

They are for one thread, the one of the event loop, and so have no locks; another thread may read
them meanwhile. prometheus_client's own are for many threads, and take twice the time
(docs/decisions/0023).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

Labels = tuple[object, ...]


class _Buckets:
    """How many values lie in each bucket, and their sum. The last bucket has no upper bound."""

    __slots__ = ("counts", "sum")

    def __init__(self, count: int) -> None:
        self.counts = [0] * count
        self.sum = 0.0


class RecordedHistogram:
    """`bounds` are the upper bounds of its buckets."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._described = (name, documentation)
        self._labels = labels
        self._bounds = bounds
        self._bound_labels = [*map(floatToGoString, bounds), "+Inf"]
        self._by_labels: dict[Labels, _Buckets] = {}

    def observe(self, labels: Labels, value: float) -> None:
        buckets = self._by_labels.get(labels)
        if buckets is None:
            buckets = self.prepare(labels)
        buckets.counts[bisect_left(self._bounds, value)] += 1
        buckets.sum += value

    def prepare(self, labels: Labels) -> _Buckets:
        """Report these labels from now on, also without a value."""
        buckets = self._by_labels[labels] = _Buckets(len(self._bound_labels))
        return buckets

    def family(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        for labels, buckets in list(self._by_labels.items()):
            total = 0
            cumulative = []
            for bound, count in zip(self._bound_labels, list(buckets.counts), strict=True):
                total += count
                cumulative.append((bound, total))
            family.add_metric(list(map(str, labels)), cumulative, buckets.sum)
        return family


class RecordedCounter:
    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._described = (name, documentation)
        self._labels = labels
        self._by_labels: Counter[Labels] = Counter()

    def add(self, labels: Labels, count: float = 1) -> None:
        """With a count of 0, the labels are reported from now on."""
        self._by_labels[labels] += count  # type: ignore[assignment]  # counts need not be whole

    def family(self) -> CounterMetricFamily:
        family = CounterMetricFamily(*self._described, labels=self._labels)
        for labels, count in list(self._by_labels.items()):
            family.add_metric(list(map(str, labels)), count)
        return family
