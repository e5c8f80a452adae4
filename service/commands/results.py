"""An answer of the API as a table for people. Knows the answer's JSON, and nothing of searching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from service.commands.terminal import Style, printable, shortened, wrapped

TEXT_LINES = 3
INDENT = 4
ID_ROOM = 40
NOT_FIELDS = {"_id", "score", "found_by"}


def table(
    answer: Mapping[str, Any], text_names: Sequence[str], mode: str, columns: int, style: Style
) -> Iterator[str]:
    """The lines of a table: a head, the results, the receipt."""
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
        if name in NOT_FIELDS or value is None:
            continue
        shown = value if isinstance(value, str) else orjson.dumps(value).decode()
        if name not in text_names:
            shown = f"{name}: {shown}"
        for line in wrapped(shown, room, TEXT_LINES):
            yield " " * INDENT + line


def receipt(answer: Mapping[str, Any], style: Style) -> str:
    """How long each stage took; what is missing is said in the open."""
    count = len(answer["results"])
    told = answer["receipt"]
    parts = [f"{count or 'no'} result{'' if count == 1 else 's'} in {told['ms']:.1f} ms"]
    parts += [
        f"{stage['stage']} {stage['ms']:.1f} ms"
        for stage in told["stages"]
        if stage["status"] == "ok"
    ]
    line = style.faint(" · ".join(parts))
    missing = [stage for stage in told["stages"] if stage["status"] != "ok"]
    if not answer["degraded"] and not missing:
        return line
    names = ", ".join(
        f"{each['stage']} ({each['status']}: {each.get('error') or 'no reason given'})"
        for each in missing
    )
    warning = style.warning(f"DEGRADED, without {names}")
    return f"{line} · {warning}"
