"""The result of one measurement, the rounds of one variant, and ratios of two variants."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

ROW = "{:>9}  {:<8} {:>10} {:>8} {:>8} {:>8} {:>11} {:>7}"
HEADER = ROW.format(
    *("in flight", "variant", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/req", "errors")
)


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement, as the load generator recorded it."""

    requests_per_s: float  # complete responses
    p50_ms: float
    p95_ms: float
    p99_ms: float
    responses: int
    statuses: Mapping[int, int]
    broken: int  # refused or lost connections, and unreadable or missing responses
    generator_cpu_ms: float  # CPU time of the load generator per response

    @property
    def errors(self) -> int:
        """Everything that is not a response with status 200."""
        return self.broken + self.responses - self.statuses.get(200, 0)


Figure = Callable[[Result], float]

requests_per_s: Figure = attrgetter("requests_per_s")
p50_ms: Figure = attrgetter("p50_ms")
p95_ms: Figure = attrgetter("p95_ms")
p99_ms: Figure = attrgetter("p99_ms")


def result(
    rate: float, latencies_s: list[float], statuses: Counter[int], broken: int, cpu_s: float
) -> Result:
    """Summarize latencies and counts."""
    ordered = sorted(latencies_s)
    p50, p95, p99 = (1000 * percentile(ordered, share) for share in (0.50, 0.95, 0.99))
    responses = statuses.total()
    cpu_ms = 1000 * cpu_s / max(responses, 1)
    return Result(rate, p50, p95, p99, responses, dict(statuses), broken, cpu_ms)


def percentile(ordered: list[float], share: float) -> float:
    """The percentile by nearest rank; 0 for an empty list."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


@dataclass
class Rounds:
    """All measurements of one variant at one number of requests in flight.

    `cpu_s`, `upstream_cpu_s` and `upstream_calls` are sums: one round has too few clock ticks.
    """

    results: list[Result] = field(default_factory=list)
    cpu_s: float = 0.0  # of the service
    upstream_cpu_s: float = 0.0
    upstream_calls: int = 0

    @property
    def errors(self) -> int:
        return sum(result.errors for result in self.results)

    @property
    def responses(self) -> int:
        return sum(result.responses for result in self.results)

    @property
    def cpu_ms(self) -> float:
        """CPU time of the service per response."""
        return 1000 * self.cpu_s / max(self.responses, 1)

    @property
    def calls(self) -> float:
        """Upstream searches per response."""
        return self.upstream_calls / max(self.responses, 1)

    def median(self, of: Figure) -> float:
        return statistics.median(of(result) for result in self.results)

    def row(self, in_flight: int, name: str) -> str:
        """A row of the table: medians of the rounds, and CPU and errors over all of them."""
        return ROW.format(
            in_flight,
            name,
            f"{self.median(requests_per_s):.0f}",
            f"{self.median(p50_ms):.1f}",
            f"{self.median(p95_ms):.1f}",
            f"{self.median(p99_ms):.1f}",
            f"{self.cpu_ms:.2f}",
            self.errors,
        )


@dataclass(frozen=True, slots=True)
class Between:
    """The ratio of two variants within each round: the lowest, the median, the highest."""

    lowest: float
    median: float
    highest: float

    def __str__(self) -> str:
        return f"min {self.lowest:.2f}, median {self.median:.2f}, max {self.highest:.2f}"


def between(ours: Rounds, theirs: Rounds, of: Figure) -> Between:
    """The ratio of one figure of two variants."""
    ratios = [_over(of(a), of(b)) for a, b in zip(ours.results, theirs.results, strict=True)]
    return Between(min(ratios), statistics.median(ratios), max(ratios))


def cpu_ratio(ours: Rounds, theirs: Rounds) -> float:
    """The ratio of CPU time per response, over all rounds."""
    return _over(ours.cpu_ms, theirs.cpu_ms)


def ratio(ours: Rounds, theirs: Rounds) -> str:
    """The ratios of two variants that were measured in alternation, round by round."""
    rates = between(ours, theirs, requests_per_s)
    return f"requests/s {rates}; CPU per request {cpu_ratio(ours, theirs):.2f}"


def _over(ours: float, theirs: float) -> float:
    """Divide; NaN if the divisor is 0."""
    return ours / theirs if theirs else math.nan
