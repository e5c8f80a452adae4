"""Cascade against FastAPI with the Pinecone client as documented: `python -m bench.service`.

Starts an upstream, Cascade and the baselines, and loads them alternately. A ratio within a round is
more reliable than any single figure. bench/README.md explains the output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.command import above_zero, end_on_signals, positive, positives
from bench.figures import requests_per_s
from bench.processes import ROOT, Failed
from bench.service.parts import BASELINES, PARTS, Case, Plan, cases
from bench.service.plot import Panel, bars
from bench.service.report import HEADER, figures, load_of_others, machine, ratios, rows
from bench.service.variants import CASCADE, PATHS

PLOT = ROOT / "docs" / "bench-service.svg"
FILES = {"json", "plot"}  # options that do not change the measurement
Versions = dict[str, dict[str, str] | None]


def compare(options: argparse.Namespace) -> int:
    """Measure, print the table and the ratios, and return the number of errors."""
    versions: Versions = {each.name: each.versions() for each in (CASCADE, *BASELINES)}
    absent = [each for each in BASELINES if versions[each.name] is None]
    if len(absent) == len(BASELINES):
        raise Failed("no baseline is installed; make bench-service installs both")
    plan = Plan(
        options.searches, options.in_flight, options.rounds, options.seconds, options.delay_ms
    )
    print(
        f"{machine()}, upstream {plan.delay_ms:g} ms, {plan.rounds} rounds of {plan.seconds:g} s; "
        "the service, the upstream and the load generator share the CPUs"
    )
    for name, packages in versions.items():
        print(f"{name}: {_listed(packages)}")
    for part in options.only:
        print(f"{part}: {PARTS[part].says}")
    print(f"\n{HEADER}", flush=True)
    measured: list[Case] = []
    for part in options.only:
        for case in cases(PARTS[part], plan, absent):
            print(rows(case), flush=True)
            measured.append(case)
    print("", *map(ratios, measured), load_of_others(measured), sep="\n")
    _save(measured, versions, options)
    return sum(rounds.errors for case in measured for rounds in case.rounds.values())


def _listed(packages: dict[str, str] | None) -> str:
    if packages is None:
        return "not installed (make bench-service installs it), so left out"
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _save(measured: Sequence[Case], versions: Versions, options: argparse.Namespace) -> None:
    if options.json is not None:
        given = {name: value for name, value in vars(options).items() if name not in FILES}
        options.json.write_text(json.dumps(figures(measured, versions, given), indent=1) + "\n")
    steady = [case for case in measured if case.part == "steady"]
    if options.plot is not None and steady:
        options.plot.write_text(_plot(steady, versions, options.delay_ms))
        print(f"The plot is in {options.plot}.")


def _plot(steady: Sequence[Case], versions: Versions, delay_ms: float) -> str:
    titles = {"cascade": "Cascade"}
    for name, packages in versions.items():
        if packages is not None and name != "cascade":
            over = " on aiohttp" if name == "aiohttp" else ""
            titles[name] = f"FastAPI, Pinecone client {packages['pinecone']}{over}"
    panels = [
        Panel(
            search,
            {
                str(case.in_flight): {
                    name: rounds.median(requests_per_s) for name, rounds in case.rounds.items()
                }
                for case in steady
                if case.search == search
            },
        )
        for search in dict.fromkeys(case.search for case in steady)
    ]
    title = f"Requests per second, one process each, upstream at {delay_ms:g} ms"
    return bars(title, "requests in flight", titles, panels)


def _names(known: Sequence[str], text: str) -> list[str]:
    if unknown := [name for name in text.split(",") if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return text.split(",")


def _searches(text: str) -> list[str]:
    return _names(list(PATHS), text)


def _parts(text: str) -> list[str]:
    return _names(list(PARTS), text)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.service")
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar=",".join(PARTS))
    parser.add_argument(
        "--searches", type=_searches, default=["semantic", "cascading"], metavar=",".join(PATHS)
    )
    parser.add_argument(
        "--in-flight", type=positives, default=[], help="for every part instead of its default"
    )
    parser.add_argument("--rounds", type=positive, help="rounds of each case (3)")
    parser.add_argument("--seconds", type=above_zero, help="duration of a measurement (3)")
    parser.add_argument("--delay-ms", type=above_zero, default=20.0, help="delay of the upstream")
    parser.add_argument(
        "--quick", action="store_true", help="1 round of 1 s, and no plot without --plot"
    )
    parser.add_argument("--plot", type=Path, help=f"file of the plot ({PLOT.relative_to(ROOT)})")
    parser.add_argument("--json", type=Path, help="file of the figures")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.plot = options.plot or (None if options.quick else PLOT)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    end_on_signals()
    try:
        errors = compare(options)
    except Failed as exc:
        print(f"bench.service: {exc}", file=sys.stderr)
        return 1
    if errors:
        print(f"bench.service: {errors} requests were not answered with 200", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
