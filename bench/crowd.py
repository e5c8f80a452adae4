"""More clients than a service can answer: `python -m bench.crowd URL --clients 640 --seconds 30`.

Each asks again as soon as it has its answer. One that is told to come back later does so, or, with
`--rude`, asks again at once. They come one after the other within the first two seconds. Prints
JSON: how many answers of each status there were, how long they took, and in which second they came.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import uvloop

from bench.figures import percentile
from bench.load import Run, keep_in_flight

RAMP_S = 2.0
GRACE_S = 12.0  # for the last answers: whoever came back too early is heard after some seconds
SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)


class Crowd(Run):
    """What all clients have seen, by status."""

    def __init__(self, url: str, *, rude: bool) -> None:
        super().__init__(url)
        self.began = time.perf_counter()
        self.took_s: defaultdict[int, list[float]] = defaultdict(list)
        self.seconds: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self.untold = 0  # refusals that do not say when to come back
        self._rude = rude

    def answered(self, status: int, sent_at: float, head: bytes) -> float:
        now = time.perf_counter()
        self.took_s[status].append(now - sent_at)
        self.seconds[status][int(now - self.began)] += 1
        if status != 503:
            return 0.0
        told = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0].strip()
        self.untold += not told.isdigit()
        return 0.0 if self._rude or not told.isdigit() else float(told)

    def summary(self, seconds: int) -> dict[str, Any]:
        return {
            "answers": {status: self._answers(status, seconds) for status in self.took_s},
            "untold": self.untold,
            "broken": self.broken,
        }

    def _answers(self, status: int, seconds: int) -> dict[str, Any]:
        ordered = sorted(1000 * took for took in self.took_s[status])
        in_each = [self.seconds[status][second] for second in range(seconds)]
        return {
            "per_s": sum(in_each) / seconds,
            "in_each_s": in_each,
            "ms": [percentile(ordered, share) for share in SHARES],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd")
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=640)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rude", action="store_true", help="ask again at once, whatever is said")
    options = parser.parse_args(arguments)
    crowd = Crowd(options.url, rude=options.rude)
    uvloop.run(keep_in_flight(crowd, options.clients, options.seconds, RAMP_S, GRACE_S))
    print(json.dumps(crowd.summary(options.seconds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
