"""Measuring one process, after checking that it returns results."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

import uvloop

from bench.figures import Rounds
from bench.load import load
from bench.processes import Failed, Process
from bench.upstream import RESTART

ANSWER_TIMEOUT_S = 30.0
OF_A_RESULT = ("_id", "score", "chunk_text")


def found(process: Process, target: str) -> list[tuple[Any, ...]]:
    """The results of one search; raises `Failed` if there are none."""
    try:
        results = answer(process, target)["results"]
        return [tuple(result[name] for name in OF_A_RESULT) for result in results]
    except (LookupError, TypeError) as exc:
        raise process.failed(f"gave no results ({type(exc).__name__})") from exc


def refuse_unless_found(process: Process, target: str) -> None:
    if not found(process, target):
        raise Failed(f"{process.name} finds nothing")


def measure(
    process: Process,
    target: str,
    in_flight: int,
    seconds: float,
    rounds: Rounds,
    upstream: Process | None = None,
) -> None:
    """Measure one variant once and add the result to its rounds."""
    if upstream is not None:
        answer(upstream, RESTART)
        rounds.upstream_cpu_s -= upstream.cpu_seconds()
    rounds.cpu_s -= process.cpu_seconds()
    result = uvloop.run(load(process.url + target, in_flight, seconds))
    rounds.cpu_s += process.cpu_seconds()
    if upstream is not None:
        rounds.upstream_cpu_s += upstream.cpu_seconds()
        rounds.upstream_calls += answer(upstream, RESTART)["searches"]
    rounds.results.append(result)
    if not result.responses:
        raise process.failed(f"answered nothing in {seconds:g} s")


def answer(process: Process, target: str) -> Any:
    """The JSON of a GET with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=ANSWER_TIMEOUT_S)
    try:
        with contextlib.closing(connection):
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise process.failed(f"answered with status {response.status}")
        return json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise process.failed(f"gave no answer ({type(exc).__name__})") from exc
