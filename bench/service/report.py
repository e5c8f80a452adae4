"""The output: rows of the table, ratios, and the figures as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import Rounds, between, cpu_ratio, p50_ms, p95_ms, p99_ms, requests_per_s
from bench.service.parts import Case
from bench.service.variants import CASCADE

ROW = "{:<7} {:<9} {:>9}  {:<8} {:>10} {:>8} {:>8} {:>8} {:>11} {:>10} {:>7}"
HEADER = ROW.format(
    *("part", "search", "in flight", "variant", "requests/s", "p50 ms", "p95 ms", "p99 ms"),
    *("CPU ms/req", "calls/req", "errors"),
)


def machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs"


def rows(case: Case) -> str:
    """A row for each variant: medians of its rounds, and CPU, calls and errors over all of them."""
    return "\n".join(
        ROW.format(
            case.part,
            case.search,
            case.in_flight,
            name,
            f"{rounds.median(requests_per_s):.0f}",
            f"{rounds.median(p50_ms):.1f}",
            f"{rounds.median(p95_ms):.1f}",
            f"{rounds.median(p99_ms):.1f}",
            f"{rounds.cpu_ms:.2f}",
            f"{rounds.calls:.2f}",
            rounds.errors,
        )
        for name, rounds in case.rounds.items()
    )


def ratios(case: Case) -> str:
    """The ratios of Cascade to the fastest other variant, within each round."""
    ours, theirs = case.rounds[CASCADE.name], case.rounds[case.rival]
    return (
        f"{case.part}, {case.search}, {case.in_flight} in flight, cascade / {case.rival}: "
        f"requests/s {between(ours, theirs, requests_per_s)}; "
        f"p50 {between(ours, theirs, p50_ms).median:.2f}, "
        f"p99 {between(ours, theirs, p99_ms).median:.2f}; "
        f"CPU per request {cpu_ratio(ours, theirs):.2f}"
    )


def load_of_others(cases: Sequence[Case]) -> str:
    """The highest CPU use of the load generator and the upstream."""
    rounds = max((each for case in cases for each in case.rounds.values()), key=_busy_beside)
    generator, upstream = _shares(rounds)
    return (
        f"At most, the load generator kept {generator:.0%} of a CPU busy, "
        f"and the upstream {upstream:.0%}."
    )


def _busy_beside(rounds: Rounds) -> float:
    return sum(_shares(rounds))


def _shares(rounds: Rounds) -> tuple[float, float]:
    """The share of one CPU used by the load generator and the upstream."""
    rate = rounds.median(requests_per_s)
    generator_ms = rounds.median(lambda result: result.generator_cpu_ms)
    upstream_ms = 1000 * rounds.upstream_cpu_s / max(rounds.responses, 1)
    return rate * generator_ms / 1000, rate * upstream_ms / 1000


def figures(cases: Sequence[Case], versions: dict[str, Any], options: dict[str, Any]) -> Any:
    """All figures, for --json."""
    return {
        "machine": machine(),
        "versions": versions,
        "options": options,
        "cases": [
            {
                "part": case.part,
                "search": case.search,
                "in_flight": case.in_flight,
                "rival": case.rival,
                "variants": {name: _figures(rounds) for name, rounds in case.rounds.items()},
            }
            for case in cases
        ],
    }


def _figures(rounds: Rounds) -> dict[str, Any]:
    return {
        "requests_per_s": rounds.median(requests_per_s),
        "p50_ms": rounds.median(p50_ms),
        "p95_ms": rounds.median(p95_ms),
        "p99_ms": rounds.median(p99_ms),
        "cpu_ms": rounds.cpu_ms,
        "upstream_calls": rounds.calls,
        "upstream_cpu_s": rounds.upstream_cpu_s,
        "errors": rounds.errors,
        "rounds": [asdict(result) for result in rounds.results],
    }
