"""Every fault, in every combination of legs and reranker, and what must come of it."""

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
"""Each stage that can be lost, and where the upstream has it."""

COMBINATIONS = [broken for n in (1, 2, 3) for broken in combinations(STAGES, n)]


def wrong_with(status: int, body: Any, broken: Sequence[str]) -> str | None:
    """What is wrong with the answer of a cascade whose stages `broken` are; None if nothing is."""
    if {"semantic", "lexical"} <= set(broken):
        no_leg = status >= 400 and "results" not in body and body.get("code")
        return None if no_leg else f"no leg is left, and the answer is {status} {body}"
    if status != 200 or not body["results"]:
        return f"a leg is left, and the answer is {status} {body}"
    missing = [stage for stage in STAGES if stage in broken]
    if not body["degraded"] or body["receipt"]["missing"] != missing:
        return f"not all of {broken} is named: {body['receipt']}"
    for stage in body["receipt"]["stages"]:
        lost = stage["stage"] in broken
        if lost != (stage["status"] != "ok") or lost != bool(stage["error"] and stage["fallback"]):
            return f"{stage} says too little, or too much"
    return None
