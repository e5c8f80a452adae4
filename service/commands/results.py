"""An answer of the API as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from service.commands.terminal import Style, marked, printable, shortened, wrapped

TEXT_LINES = 3
INDENT = 4
ID_ROOM = 40
NOT_FIELDS = {"_id", "score", "found_by"}


def table(
    answer: Mapping[str, Any], text_names: Sequence[str], mode: str, columns: int, style: Style
) -> Iterator[str]:
    """The lines of the table: a header, the results, the receipt."""
    results = answer["results"]
    if results:
        longest = min(max(len(printable(str(each["_id"]))) for each in results), ID_ROOM)
        head = f"{'#':>3} {'score':>9}  {'id'.ljust(longest)}  found by"
        yield style.faint(head)
        for rank, each in enumerate(results, 1):
            yield from _result(rank, each, text_names, mode, columns, longest, style)
    yield receipt(answer, style)


def _result(
    rank: int,
    result: Mapping[str, Any],
    text_names: Sequence[str],
    mode: str,
    columns: int,
    longest: int,
    style: Style,
) -> Iterator[str]:
    id = shortened(str(result["_id"]), max(columns - 20, 20))
    found_by = ", ".join(result.get("found_by") or [mode])
    yield f"{rank:>3} {result['score']:>9.4f}  {style.strong(id.ljust(longest))}  {found_by}"
    room = columns - INDENT
    for name, value in result.items():
        if name in NOT_FIELDS or value is None or _is_added(name, value):
            continue
        shown = value if isinstance(value, str) else orjson.dumps(value).decode()
        if name in text_names and _is_added("highlights", result.get("highlights")):
            shown = marked(shown, result["highlights"])
            lines = style.marks(wrapped(shown, room, TEXT_LINES))
        else:
            shown = shown if name in text_names else f"{name}: {shown}"
            lines = iter(wrapped(shown, room, TEXT_LINES))
        yield from (" " * INDENT + line for line in lines)
    if _is_added("explain", result.get("explain")):
        for line in wrapped(_explained(result["explain"]), room, TEXT_LINES):
            yield " " * INDENT + style.faint(line)


def _is_added(name: str, value: Any) -> bool:
    """Whether the API has added this, which no field of a record can be: an object, or ranges."""
    if name == "highlights":
        return isinstance(value, list) and all(isinstance(each, list) for each in value)
    return name == "explain" and isinstance(value, dict)


def _explained(explanation: Mapping[str, Any]) -> str:
    """Rank and score of a result at each stage, and its rank without the stage."""
    places = {**explanation["legs"]}
    places |= {name: place for name in ("fused", "reranked") if (place := explanation[name])}
    parts = [f"{name} {_place(place)}" for name, place in places.items()]
    without = explanation["rank_without"].items()
    parts.append(", ".join(f"without {stage} {_rank(rank)}" for stage, rank in without))
    return " · ".join(parts)


def _place(place: Mapping[str, Any] | None) -> str:
    return f"{_rank(place['rank'])} {place['score']:.4g}" if place else "-"


def _rank(rank: int | None) -> str:
    return f"#{rank}" if rank else "-"


def receipt(answer: Mapping[str, Any], style: Style) -> str:
    """Status and time of each stage; missing stages come last, as a warning."""
    count = len(answer["results"])
    receipt = answer["receipt"]
    stages = receipt["stages"]
    missing = [stage for stage in stages if stage["stage"] in receipt["missing"]]
    parts = [f"{count or 'no'} result{'' if count == 1 else 's'} in {receipt['ms']:.1f} ms"]
    parts += [_stage(stage) for stage in stages if stage not in missing]
    if note := receipt.get("note"):
        parts.append(note)
    line = style.faint(" · ".join(parts))
    if not answer["degraded"]:
        return line
    warning = style.warning(f"DEGRADED, without {', '.join(map(_missing, missing))}")
    return f"{line} · {warning}"


def _stage(stage: Mapping[str, Any]) -> str:
    status = "" if stage["status"] == "ok" else f" {stage['status']}"
    return f"{stage['stage']}{status} {_took(stage)}"


def _missing(stage: Mapping[str, Any]) -> str:
    reason = stage.get("error") or "no reason given"
    return f"{stage['stage']} ({stage['status']}: {reason}, {_took(stage)})"


def _took(stage: Mapping[str, Any]) -> str:
    """An older service reports no attempts and no fallback."""
    took = f"{stage['ms']:.1f} ms"
    if (attempts := stage.get("attempts") or 1) > 1:
        took += f" in {attempts} attempts"
    if fallback := stage.get("fallback"):
        took += f", {fallback} in its place"
    return took
