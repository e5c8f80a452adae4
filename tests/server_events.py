"""Parsing of server-sent events, and a check of the moves in a stream of rankings."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Event(NamedTuple):
    name: str
    data: Any


def parse_events(text: str) -> list[Event]:
    """The complete events in the text received so far."""
    events = []
    for block in text.split("\n\n")[:-1]:
        lines = [line.partition(": ") for line in block.split("\n")]
        fields = {name: value for name, _, value in lines if name}
        if fields:
            events.append(Event(fields["event"], json.loads(fields["data"])))
    return events


def result_ids(answer: Any) -> list[str]:
    return [result["_id"] for result in answer["results"]]


def check_moves(rankings: list[Any]) -> None:
    """Assert that `moved` of each ranking lists exactly the differences from the one before."""
    before: list[str] = []
    for each in rankings:
        now = result_ids(each)
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
