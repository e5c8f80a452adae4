"""What measurements come to: the `Result` of one, the `Rounds` of one variant, the ratio of two.

Knows nothing of how anything is measured.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ROW = "{:>9}  {:<8} {:>10} {:>8} {:>8} {:>8} {:>11} {:>7}"
HEADER = ROW.format(
    *("in flight", "variant", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/req", "errors")
)


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement, as the one who asked has seen it."""

    requests_per_s: float  # of the answers that were complete when the time was up
    p50_ms: float
    p95_ms: float
    p99_ms: float
    responses: int
    statuses: Mapping[int, int]
    broken: int  # connections refused or lost, answers unreadable or missing
    generator_cpu_ms: float  # what asking cost the one who asked, for each response

    @property
    def errors(self) -> int:
        """Whatever is not an answer with 200."""
        return self.broken + self.responses - self.statuses.get(200, 0)


def result(
    rate: float, latencies_s: list[float], statuses: Counter[int], broken: int, cpu_s: float
) -> Result:
    """The result of the latencies of all responses, and of what else was counted."""
    ordered = sorted(latencies_s)
    p50, p95, p99 = (1000 * percentile(ordered, share) for share in (0.50, 0.95, 0.99))
    cpu_ms = 1000 * cpu_s / max(len(ordered), 1)
    return Result(rate, p50, p95, p99, len(ordered), dict(statuses), broken, cpu_ms)


def percentile(ordered: list[float], share: float) -> float:
    """By nearest rank; 0 of nothing."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


@dataclass
class Rounds:
    """All measurements of one variant at one number of requests in flight."""

    results: list[Result] = field(default_factory=list)
    cpu_s: float = 0.0  # what the service used in all of them: one alone has too few clock ticks

    @property
    def errors(self) -> int:
        return sum(result.errors for result in self.results)

    @property
    def cpu_ms(self) -> float:
        """CPU of the service for each response."""
        return 1000 * self.cpu_s / max(sum(result.responses for result in self.results), 1)

    def row(self, in_flight: int, name: str) -> str:
        """A line of the table: medians of the rounds, CPU and errors of all of them."""
        return ROW.format(
            in_flight,
            name,
            f"{self._median(lambda result: result.requests_per_s):.0f}",
            f"{self._median(lambda result: result.p50_ms):.1f}",
            f"{self._median(lambda result: result.p95_ms):.1f}",
            f"{self._median(lambda result: result.p99_ms):.1f}",
            f"{self.cpu_ms:.2f}",
            self.errors,
        )

    def _median(self, of: Callable[[Result], float]) -> float:
        return statistics.median(of(result) for result in self.results)


def ratio(ours: Rounds, theirs: Rounds) -> str:
    """Ours over theirs, round by round, for two variants that were measured in turn."""
    pairs = zip(ours.results, theirs.results, strict=True)
    ratios = [a.requests_per_s / b.requests_per_s for a, b in pairs]
    return (
        f"requests/s min {min(ratios):.2f}, median {statistics.median(ratios):.2f}, "
        f"max {max(ratios):.2f}; CPU per request {ours.cpu_ms / theirs.cpu_ms:.2f}"
    )
