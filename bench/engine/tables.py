"""The figures of a run as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

DASH = "–"
FILTERS = {"": "all", "half": "50 %", "hundredth": "1 %", "rare": "0.01 %"}
Figures = Mapping[str, Any]


def markdown(figures: Figures) -> str:
    """All tables of a run."""
    lines = [f"Machine: {figures['machine']}. One client, top 10, warm.", ""]
    lines += [_versions(name, found) for name, found in figures["versions"].items()]
    for records, size in figures["sizes"].items():
        lines += ["", f"## {int(records):,} records", ""]
        lines += [
            f"{size['text_mib']:.0f} MiB of text, {size['vectors_mib']:.0f} MiB of 32-bit vectors;"
            f" embedding alone makes {size['embedded_per_s']:,.0f} records/s.",
            "",
        ]
        lines += _whole(size, figures["versions"])
        lines += ["", "### Dense: p50 / p99 in ms (recall@10)", ""]
        lines += _searches(size["engines"], "dense", "meaning")
        lines += ["", "### Words: p50 / p99 in ms", ""]
        lines += _searches(size["engines"], "words", "words")
        lines += _notes(size["engines"])
        lines += _loop(size["engines"])
    return "\n".join(lines)


def _versions(name: str, found: Mapping[str, str]) -> str:
    told = ", ".join(f"{package} {version}" for package, version in found.items())
    return f"- {name}: {told or 'not installed'}"


def _whole(size: Figures, versions: Mapping[str, Any]) -> list[str]:
    """Loading and memory of the engines."""
    lines = _head(
        *("engine", "records/s", "disk MiB", "start s"),
        *("loaded MiB", "reopened MiB", "searched MiB", "searched, less text"),
    )
    for name in versions:
        told = size["engines"].get(name)
        if told is None:
            lines.append(_row(name, "not installed", *[DASH] * 6))
            continue
        lines.append(
            _row(
                name,
                _at(told, "per_s", lambda n: f"{n:,.0f}")
                + ("" if not told.get("cut_off") else "*"),
                _at(told, "disk_mib", lambda n: f"{n:.0f}"),
                _at(told, "first_answer_s", lambda n: f"{n:.2f}"),
                _at(told, "memory_mib_loaded", lambda n: f"{n:.0f}"),
                _at(told, "memory_mib_opened", lambda n: f"{n:.0f}"),
                _at(told, "memory_mib_searched", lambda n: f"{n:.0f}"),
                _less(told, "memory_mib_searched", size["text_mib"]),
            )
        )
    return lines


def _searches(engines: Mapping[str, Figures], kind: str, ours: str) -> list[str]:
    """Latencies, and the p50 of the others as a multiple of ours."""
    lines = _head("engine", *FILTERS.values())
    for name, told in engines.items():
        kinds = told.get("kinds", {})
        if kind in kinds or ours not in kinds:
            lines.append(_row(name, *(_search(kinds.get(_key(kind, f))) for f in FILTERS)))
        if ours != kind and ours in kinds:
            found = [_search(kinds.get(_key(ours, f))) for f in FILTERS]
            lines.append(_row(f"{name}, from the text", *found))
    base = engines.get("cascade", {}).get("kinds", {})
    mine = kind if kind in base else ours
    if mine not in base or len(engines) == 1:
        return lines
    lines += [
        "",
        f"p50 as a multiple of Cascade's ({mine}):",
        "",
        *_head("engine", *FILTERS.values()),
    ]
    for name, told in engines.items():
        kinds = told.get("kinds", {})
        if name != "cascade" and kind in kinds:
            ratios = [_ratio(kinds.get(_key(kind, f)), base.get(_key(mine, f))) for f in FILTERS]
            lines.append(_row(name, *ratios))
    return lines


def _key(kind: str, field: str) -> str:
    return f"{kind} {field}".strip()


def _search(found: Figures | None) -> str:
    if found is None:
        return DASH
    recall = "" if found["recall"] is None else f" ({found['recall']:.3f})"
    return f"{found['p50_ms']:.2f} / {found['p99_ms']:.2f}{recall}"


def _ratio(theirs: Figures | None, ours: Figures | None) -> str:
    return DASH if theirs is None or ours is None else f"{theirs['p50_ms'] / ours['p50_ms']:.1f}"


def _notes(engines: Mapping[str, Figures]) -> Iterable[str]:
    """Failures, timeouts, and measurements on fewer searches."""
    notes = []
    for name, told in engines.items():
        if told.get("error"):
            notes.append(f"- {name}: {told['error']}")
        if told.get("cut_off"):
            notes.append(
                f"- {name}: * cut off at {told['loaded']:,} records, {told['load_s']:.0f} s"
            )
        kinds = told.get("kinds", {})
        most = max((found["searches"] for found in kinds.values()), default=0)
        for kind, found in kinds.items():
            if found["searches"] < most:
                notes.append(f"- {name}: {kind}: {found['searches']} searches in the time")
            if found["filter_violations"]:
                notes.append(
                    f"- {name}: {kind}: {found['filter_violations']} hits that should not be there"
                )
    return ["", *notes] if notes else []


def _loop(engines: Mapping[str, Figures]) -> Iterable[str]:
    """Event-loop lag and start-up without views, of ours only."""
    told = engines.get("cascade", {})
    if "rebuild_s" not in told:
        return []
    return [
        "",
        "### Cascade: the event loop, and a start without views",
        "",
        f"The longest that the loop could not run: {told['lag_loading_ms']:.1f} ms while loading,"
        f" {told['lag_saving_ms']:.1f} ms while finishing and closing,"
        f" {told['lag_searching_ms']:.1f} ms while searching, eight at once"
        f" ({told['lag_idle_ms']:.1f} ms when nothing goes on)."
        f" A start without any view took {told['rebuild_s']:.1f} s.",
    ]


def _head(*names: str) -> list[str]:
    return [_row(*names), _row(*["---"] * len(names))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _at(told: Figures, name: str, shown: Callable[[float], str]) -> str:
    return shown(told[name]) if name in told else DASH


def _less(told: Figures, name: str, text: float) -> str:
    return _at(told, name, lambda n: f"{n - text:.0f}")
