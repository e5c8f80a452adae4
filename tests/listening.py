"""Server-sent events, as one who listens takes them in."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Heard(NamedTuple):
    """One event."""

    name: str
    data: Any


def heard(text: str) -> list[Heard]:
    """The whole events in what has come so far."""
    events = []
    for block in text.split("\n\n")[:-1]:
        lines = [line.partition(": ") for line in block.split("\n")]
        fields = {name: value for name, _, value in lines if name}
        if fields:
            events.append(Heard(fields["event"], json.loads(fields["data"])))
    return events


def ids(answer: Any) -> list[str]:
    return [result["_id"] for result in answer["results"]]


def check_moves(told: list[Any]) -> None:
    """What is said to have moved is what has moved, from one to the next."""
    before: list[str] = []
    for each in told:
        now = ids(each)
        ranks = {id: rank for rank, id in enumerate(now, 1)}
        old = {id: rank for rank, id in enumerate(before, 1)}
        expected = {
            id: (old.get(id), ranks.get(id))
            for id in {*now, *before}
            if old.get(id) != ranks.get(id)
        }
        moved = {move["_id"]: (move["from"], move["to"]) for move in each["moved"]}
        assert moved == expected
        assert len(each["moved"]) == len(moved)
        before = now
