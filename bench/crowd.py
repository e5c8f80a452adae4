"""More clients than a service can answer: `python -m bench.crowd URL --clients 640 --seconds 30`.

Each client sends its next request as soon as it has a response. A client that receives Retry-After
waits as long as it says; with `--rude` it retries at once. Clients connect within the first two
seconds. Prints JSON: the responses by status, their latencies, and their number in each second.
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
GRACE_S = 12.0  # for the last responses: the server holds back early retries for some seconds
SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)


class Crowd(Run):
    """The responses of all clients, by status."""

    def __init__(self, url: str, *, rude: bool) -> None:
        super().__init__(url)
        self.began = time.perf_counter()
        self.took_s: defaultdict[int, list[float]] = defaultdict(list)
        self.seconds: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self.without_retry_after = 0  # rejections without Retry-After
        self._rude = rude

    def answered(self, status: int, sent_at: float, head: bytes) -> float:
        now = time.perf_counter()
        self.took_s[status].append(now - sent_at)
        self.seconds[status][int(now - self.began)] += 1
        if status != 503:
            return 0.0
        retry_after = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0].strip()
        self.without_retry_after += not retry_after.isdigit()
        return 0.0 if self._rude or not retry_after.isdigit() else float(retry_after)

    def summary(self, seconds: int) -> dict[str, Any]:
        return {
            "answers": {status: self._answers(status, seconds) for status in self.took_s},
            "without_retry_after": self.without_retry_after,
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
    parser.add_argument("--rude", action="store_true", help="ignore Retry-After")
    options = parser.parse_args(arguments)
    crowd = Crowd(options.url, rude=options.rude)
    uvloop.run(keep_in_flight(crowd, options.clients, options.seconds, RAMP_S, GRACE_S))
    print(json.dumps(crowd.summary(options.seconds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
