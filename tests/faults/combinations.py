"""All faults, all combinations of broken stages, and the expected response."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from tests.upstream import Drip, Garbage, Hang, Reset, Status, Truncate

FAULTS: dict[str, Any] = {
    "hang": Hang(),
    "drip": Drip(),
    "reset": Reset(),
    "truncate": Truncate(),
    "garbage": Garbage(),
    "400": Status(400),
    "401": Status(401),
    "503": Status(503),
    "429 for a day": Status(429, {"retry-after": "86400"}),
    "503 for a day": Status(503, {"retry-after": "86400"}),
}

STAGES = {"semantic": "dense", "lexical": "sparse", "rerank": "control/rerank"}
"""The stages that can fail, and their paths at the fake upstream."""

COMBINATIONS = [broken for n in (1, 2, 3) for broken in combinations(STAGES, n)]


def find_violation(status: int, body: Any, broken: Sequence[str]) -> str | None:
    """How a response to a cascade with `broken` stages is wrong; None if it is right."""
    if {"semantic", "lexical"} <= set(broken):
        no_leg = status >= 400 and "results" not in body and body.get("code")
        return None if no_leg else f"no leg is left, but the response is {status} {body}"
    if status != 200 or not body["results"]:
        return f"a leg is left, but the response is {status} {body}"
    missing = [stage for stage in STAGES if stage in broken]
    if not body["degraded"] or body["receipt"]["missing"] != missing:
        return f"the receipt does not name all of {broken}: {body['receipt']}"
    for stage in body["receipt"]["stages"]:
        lost = stage["stage"] in broken
        if lost != (stage["status"] != "ok") or lost != bool(stage["error"] and stage["fallback"]):
            return f"wrong status, error or fallback of {stage}"
    return None
