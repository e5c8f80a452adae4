"""The three parts of the benchmark, and how each is measured, round by round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Rounds, requests_per_s
from bench.measuring import found, measure
from bench.processes import Failed, Process, free_port, running
from bench.service.variants import AIOHTTP, CASCADE, HELLO, STOCK, Variant

WARM_UP_S = 2.0
SLOW_TIMES = 20


@dataclass(frozen=True, slots=True)
class Part:
    """The variants that are compared, and the upstream behind them."""

    name: str
    says: str
    rivals: tuple[Variant, ...]
    in_flight: tuple[int, ...]
    slow_share: float = 0.0
    cache_ttl: int = 0

    @property
    def variants(self) -> tuple[Variant, ...]:
        return (CASCADE, *self.rivals)


BASELINES = (STOCK, AIOHTTP)
PARTS = {
    part.name: part
    for part in (
        Part("steady", "every search takes the upstream equally long", BASELINES, (1, 16, 64, 256)),
        Part(
            "slow",
            f"5 % of the searches take the upstream {SLOW_TIMES} times as long",
            BASELINES,
            (16,),
            slow_share=0.05,
        ),
        Part("cached", "one question again and again, CACHE_TTL=60", (HELLO,), (64,), cache_ttl=60),
    )
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The options for every part; without `in_flight` each part has its own."""

    searches: Sequence[str]
    in_flight: Sequence[int]
    rounds: int
    seconds: float
    delay_ms: float


@dataclass
class Case:
    """One search at one number of requests in flight: the rounds of every variant."""

    part: str
    search: str
    in_flight: int
    rounds: dict[str, Rounds] = field(default_factory=dict)

    @property
    def rival(self) -> str:
        """The fastest of the other variants."""
        others = [name for name in self.rounds if name != CASCADE.name]
        return max(others, key=lambda name: self.rounds[name].median(requests_per_s))


def cases(part: Part, plan: Plan, absent: Sequence[Variant]) -> Iterator[Case]:
    """Start the processes, check that all find the same, and measure."""
    variants = [variant for variant in part.variants if variant not in absent]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(_upstream(plan.delay_ms, part.slow_share))
        processes = {
            variant: stack.enter_context(variant.running(upstream, part.cache_ttl))
            for variant in variants
        }
        for search in plan.searches:
            _refuse_unless_same(processes, search)
        for search in plan.searches:
            targets = {each: each.target(search, same=part.cache_ttl > 0) for each in variants}
            in_flight = plan.in_flight or part.in_flight
            warm_up_s = min(WARM_UP_S, plan.seconds)
            for variant, process in processes.items():
                measure(process, targets[variant], max(in_flight), warm_up_s, Rounds())
            for number in in_flight:
                case = Case(part.name, search, number, {each.name: Rounds() for each in variants})
                for turn in range(plan.rounds):
                    for variant in variants if turn % 2 == 0 else variants[::-1]:
                        measure(
                            processes[variant],
                            targets[variant],
                            number,
                            plan.seconds,
                            case.rounds[variant.name],
                            upstream,
                        )
                yield case


@contextlib.contextmanager
def _upstream(delay_ms: float, slow_share: float) -> Iterator[Process]:
    port = free_port()
    options = {
        "--port": port,
        "--delay-ms": delay_ms,
        "--slow-share": slow_share,
        "--slow-times": SLOW_TIMES,
    }
    module = ["bench.upstream", *(str(part) for pair in options.items() for part in pair)]
    with running("the upstream", port, module, {}) as process:
        yield process


def _refuse_unless_same(processes: Mapping[Variant, Process], search: str) -> None:
    """Raise `Failed` unless all variants find the same."""
    answers = {
        variant.name: found(process, variant.target(search, same=True))
        for variant, process in processes.items()
        if variant.searches
    }
    ours = answers.pop(CASCADE.name)
    if not ours:
        raise Failed(f"{search}: cascade finds nothing")
    for name, theirs in answers.items():
        if theirs != ours:
            raise Failed(f"{search}: cascade and {name} do not find the same")
