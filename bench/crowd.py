"""More clients than a service can answer: `python -m bench.crowd URL --clients 640 --seconds 30`.

Each asks again as soon as it has its answer. One that is told to come back later does so, or, with
`--rude`, asks again at once. Prints JSON: what came back, and how long it took.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence

import uvloop

from bench.figures import percentile
from bench.load import Run, keep_in_flight


class Crowd(Run):
    """What all clients have seen, by status."""

    def __init__(self, url: str, *, rude: bool) -> None:
        super().__init__(url)
        self.began = time.perf_counter()
        self.seen: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self.unsaid = 0  # refusals that do not say when to come back
        self._rude = rude

    def answered(self, status: int, seconds: float, head: bytes) -> float:
        self.seen[status].append((time.perf_counter() - self.began, seconds))
        super().answered(status, seconds, head)
        if status != 503:
            return 0.0
        told = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0].strip()
        self.unsaid += not told.isdigit()
        return 0.0 if self._rude else float(told or 1)


def told(crowd: Crowd, seconds: float) -> dict[str, object]:
    """What is printed."""
    answers = {}
    for status, seen in crowd.seen.items():
        ordered = sorted(1000 * took for _, took in seen)
        answers[status] = {
            "count": len(seen),
            "per_s": sum(at <= seconds for at, _ in seen) / seconds,
            "each_s": [sum(int(at) == second for at, _ in seen) for second in range(int(seconds))],
            **{f"p{share:g}": percentile(ordered, share / 100) for share in (50, 90, 95, 99, 100)},
        }
    return {"answers": answers, "broken": crowd.broken, "unsaid": crowd.unsaid}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd")
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=640)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rude", action="store_true", help="ask again at once, whatever is said")
    options = parser.parse_args(arguments)
    crowd = Crowd(options.url, rude=options.rude)
    uvloop.run(keep_in_flight(crowd, options.clients, options.seconds))
    print(json.dumps(told(crowd, options.seconds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
