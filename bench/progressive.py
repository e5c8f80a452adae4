"""How much sooner a streamed cascade has results: `python -m bench.progressive`.

First compares the last event of a stream with the JSON response, for many queries to the embedded
engine. Then, with an upstream that has one fast and one slow leg, measures the time to the first
results, beside a search of the faster leg alone and beside the JSON response.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote_plus

from bench import cascade
from bench.command import above_zero, end_on_signals, positive
from bench.figures import percentile
from bench.processes import ROOT, Failed, Process, free_port, running

CASCADE = "/api/cascading-retrieval"
SAMPLES = ROOT / "service" / "samples" / "records.jsonl"
DONE = b"event: done\ndata: "
OF_AN_ANSWER = ("results", "degraded", "cursor")


class Listener:
    """One client, one connection."""

    def __init__(self, process: Process) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def answer(self, target: str) -> tuple[bytes, float]:
        """A JSON response, and its latency in ms."""
        began = time.perf_counter()
        body = self._ask(target).read()
        return body, 1000 * (time.perf_counter() - began)

    def events(self, target: str) -> tuple[bytes, float, float]:
        """The events of a stream, and the latencies of the first and the last in ms."""
        began = time.perf_counter()
        response = self._ask(target)
        text = response.read1()
        first_ms = 1000 * (time.perf_counter() - began)
        text += response.read()
        return text, first_ms, 1000 * (time.perf_counter() - began)

    def _ask(self, target: str) -> http.client.HTTPResponse:
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        if response.status != 200:
            raise Failed(f"{target} was answered with status {response.status}")
        return response


def questions(count: int) -> list[str]:
    """Different queries: a few words of each sample record."""
    texts = [json.loads(line)["chunk_text"].split() for line in SAMPLES.read_text().splitlines()]
    return [
        " ".join(texts[n % len(texts)][n // len(texts) * 3 : n // len(texts) * 3 + 5])
        for n in range(count)
    ]


def equal(listener: Listener, count: int) -> int:
    """The number of queries whose last event differs from the JSON response."""
    differ = 0
    for question in questions(count):
        query = f"?text_query={quote_plus(question)}&explain=true"
        answered = json.loads(listener.answer(CASCADE + query)[0])
        stream = listener.events(f"{CASCADE}/stream{query}")[0]
        done = json.loads(stream.partition(DONE)[2].strip())
        differ += any(done[name] != answered[name] for name in OF_AN_ANSWER)
    return differ


@contextlib.contextmanager
def embedded() -> Iterator[Process]:
    """Run the service on the embedded engine, with the samples."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATA_DIR": str(Path(folder) / "data"),
            "LOAD_SAMPLES": "true",
            "LOG_LEVEL": "WARNING",
            "CACHE_TTL": "0",
        }
        with running("cascade", port, ["service", "serve"], settings) as service:
            yield service


@contextlib.contextmanager
def two_legs(fast_ms: float, slow_ms: float) -> Iterator[Process]:
    """Run the service in front of a fast dense and a slow sparse index."""
    with contextlib.ExitStack() as stack:
        upstreams = []
        for delay_ms in (fast_ms, slow_ms):
            port = free_port()
            module = ["bench.upstream", "--port", str(port), "--delay-ms", str(delay_ms)]
            upstreams.append(stack.enter_context(running("the upstream", port, module, {})))
        port = free_port()
        settings = cascade.environment(port, upstreams[0])
        settings["PINECONE_SPARSE_INDEX_HOST"] = upstreams[1].url
        yield stack.enter_context(running("cascade", port, ["service", "serve"], settings))


def measure(listener: Listener, count: int) -> dict[str, list[float]]:
    """Measure all variants alternately, so that a slow machine affects all of them."""
    took: dict[str, list[float]] = {}
    for n in range(count + count // 10):
        rest = f"?text_query=question+{n}&rerank=none"
        _, alone_ms = listener.answer(f"/api/semantic-search{rest}")
        _, first_ms, end_ms = listener.events(f"{CASCADE}/stream{rest}")
        _, json_ms = listener.answer(CASCADE + rest)
        if n < count // 10:
            continue  # warm-up
        for name, ms in (
            ("the faster leg alone", alone_ms),
            ("first results of the stream", first_ms),
            ("end of the stream", end_ms),
            ("the JSON answer", json_ms),
        ):
            took.setdefault(name, []).append(ms)
    return took


def report(took: dict[str, list[float]]) -> None:
    print(f"\n  {'':<30}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for name, each in took.items():
        ordered = sorted(each)
        figures = "".join(f"{percentile(ordered, share):>9.1f}" for share in (0.5, 0.95, 0.99))
        print(f"  {name:<30}{figures}")
    median: Callable[[str], float] = lambda name: percentile(sorted(took[name]), 0.5)  # noqa: E731
    later = median("first results of the stream") - median("the faster leg alone")
    sooner = median("the JSON answer") - median("first results of the stream")
    print(
        f"\n  first results: {later:+.1f} ms beside the faster leg alone, "
        f"{sooner:.1f} ms before the JSON response (medians)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.progressive")
    parser.add_argument("--queries", type=positive, default=200)
    parser.add_argument("--fast-ms", type=above_zero, default=20.0, help="delay of the dense leg")
    parser.add_argument("--slow-ms", type=above_zero, default=120.0, help="delay of the sparse leg")
    options = parser.parse_args(arguments)
    end_on_signals()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs; {options.queries} queries, "
        f"legs of {options.fast_ms:g} and {options.slow_ms:g} ms",
        flush=True,
    )
    try:
        with embedded() as service, Listener(service) as listener:
            differ = equal(listener, options.queries)
        same = options.queries - differ
        print(f"  the last event equals the JSON response: {same} of {options.queries}")
        with two_legs(options.fast_ms, options.slow_ms) as service, Listener(service) as listener:
            report(measure(listener, options.queries))
    except (Failed, OSError, http.client.HTTPException) as exc:
        print(f"bench.progressive: {exc}", file=sys.stderr)
        return 1
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
