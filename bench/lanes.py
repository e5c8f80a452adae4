"""Cascade's lanes against one stock client, behind the same endpoint: `python -m bench.lanes`.

Starts an upstream with a fixed delay and both variants in front of it, then loads the two in turn,
round by round. Each round is a pair of measurements a few seconds apart, so that the ratio within
a round says more than any figure alone. Knows nothing of Pinecone's own speed: the upstream takes
as long as it is told to, however much it is asked.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence

import uvloop

from bench.figures import HEADER, Rounds, ratio
from bench.load import load
from bench.processes import Failed, Process, free_port, running

TARGET = "/api/semantic-search?text_query=hello"
VARIANTS = {"cascade": ["service", "serve"], "stock": ["bench.stock"]}
FIRST_ANSWER_TIMEOUT_S = 30.0
WARM_UP_S = 1.5


@contextlib.contextmanager
def started(delay_ms: float) -> Iterator[list[Process]]:
    """Both variants in front of one upstream, each of which finds what the other one finds."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        module = ["bench.upstream", "--port", str(port), "--delay-ms", str(delay_ms)]
        upstream = stack.enter_context(running("the upstream", port, module, {}))
        variants = []
        for name, module in VARIANTS.items():
            port = free_port()
            environment = {
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "WEB_CONCURRENCY": "1",
                "LOG_LEVEL": "WARNING",
                "CACHE_TTL": "0",
                "PINECONE_API_KEY": "bench",
                "PINECONE_DENSE_INDEX_HOST": upstream.url,
                "PINECONE_SPARSE_INDEX_HOST": upstream.url,
                "PINECONE_CONTROLLER_HOST": upstream.url,
            }
            variants.append(stack.enter_context(running(name, port, module, environment)))
        ours, theirs = (found(process) for process in variants)
        if not ours or ours != theirs:
            raise Failed("the two variants do not find the same, or nothing")
        yield variants


def found(process: Process) -> object:
    """The results of one search: nobody shall measure how fast a variant fails."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", process.port, timeout=FIRST_ANSWER_TIMEOUT_S
    )
    try:
        with contextlib.closing(connection):
            connection.request("GET", TARGET)
            answer = connection.getresponse()
            body = answer.read()
        if answer.status != 200:
            raise process.failed(f"answered with status {answer.status}")
        return json.loads(body)["results"]
    except (OSError, http.client.HTTPException, LookupError, ValueError) as exc:
        raise process.failed(f"gave no answer ({type(exc).__name__})") from exc


def measure(process: Process, target: str, in_flight: int, seconds: float, rounds: Rounds) -> None:
    """One measurement of one variant, added to its rounds."""
    before = process.cpu_seconds()
    result = uvloop.run(load(process.url + target, in_flight, seconds, fresh=True))
    rounds.cpu_s += process.cpu_seconds() - before
    rounds.results.append(result)
    if not result.responses:
        raise process.failed(f"answered nothing in {seconds:g} s")


def compare(variants: list[Process], options: argparse.Namespace) -> int:
    """Measure, and print the table and the ratios; returns the number of errors."""
    warm_up = Rounds()
    for process in variants:
        measure(process, TARGET, max(options.in_flight), WARM_UP_S, warm_up)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, upstream "
        f"{options.delay_ms:g} ms, {options.rounds} rounds of {options.seconds} s"
    )
    print(HEADER, flush=True)
    errors, ratios = warm_up.errors, []
    for in_flight in options.in_flight:
        measured = {process.name: Rounds() for process in variants}
        for number in range(options.rounds):
            for process in variants if number % 2 == 0 else variants[::-1]:
                measure(process, TARGET, in_flight, options.seconds, measured[process.name])
        for name, rounds in measured.items():
            print(rounds.row(in_flight, name), flush=True)
            errors += rounds.errors
        between = ratio(measured["cascade"], measured["stock"])
        ratios.append(f"{in_flight} in flight, cascade / stock: {between}")
    print("\n".join(ratios))
    return errors


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _positives(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes")
    parser.add_argument("--in-flight", type=_positives, default=[1, 16, 64], metavar="1,16,64")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=4, help="that a measurement takes")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="that the upstream takes")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):  # end what was started, then end
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with started(options.delay_ms) as variants:
            errors = compare(variants, options)
    except Failed as exc:
        print(f"bench.lanes: {exc}", file=sys.stderr)
        return 1
    if errors:
        print(f"bench.lanes: {errors} requests were not answered with 200", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
