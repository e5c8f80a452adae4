"""Cascade's lanes against a single stock client behind the same endpoint: `python -m bench.lanes`.

Starts an upstream with a fixed delay and both variants in front of it, and loads the two variants
alternately. The measurements of one round are a few seconds apart, so that their ratio is more
reliable than either figure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence

from bench.cascade import MODULE, environment
from bench.command import end_on_signals, positive, positives
from bench.figures import HEADER, Rounds, ratio
from bench.measuring import found, measure
from bench.processes import Failed, Process, free_port, running

TARGET = "/api/semantic-search?text_query=hello+{n}"
VARIANTS = {"cascade": MODULE, "stock": ["bench.stock"]}
WARM_UP_S = 1.5


@contextlib.contextmanager
def started(delay_ms: float) -> Iterator[list[Process]]:
    """Run both variants in front of one upstream, and check that they find the same."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        module = ["bench.upstream", "--port", str(port), "--delay-ms", str(delay_ms)]
        upstream = stack.enter_context(running("the upstream", port, module, {}))
        variants = []
        for name, module in VARIANTS.items():
            port = free_port()
            settings = environment(port, upstream)
            variants.append(stack.enter_context(running(name, port, module, settings)))
        ours, theirs = (found(process, TARGET) for process in variants)
        if not ours or ours != theirs:
            raise Failed("the two variants do not find the same, or nothing")
        yield variants


def compare(variants: list[Process], options: argparse.Namespace) -> int:
    """Measure, print the table and the ratios, and return the number of errors."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes")
    parser.add_argument("--in-flight", type=positives, default=[1, 16, 64], metavar="1,16,64")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=positive, default=4, help="that a measurement takes")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="that the upstream takes")
    options = parser.parse_args(arguments)
    end_on_signals()
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
