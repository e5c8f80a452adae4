"""Grouped bar charts as SVG, readable on light and dark pages.

There is no background, and every color has about equal contrast with white and black. Each bar
shows its number, so there is no axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

GREY = "#7d7d7d"
COLORS = ("#2f7fe0", "#8d8798", "#d0712b")  # in the order of the series
BAR, GAP = 30, 18  # width of a bar, and between groups
PANEL_GAP = 40
LINE = 19  # height of a line of the legend
HEADING, HEIGHT, BOTTOM = 60, 200, 46  # heights: titles, bars, labels
NARROWEST = 480
MARGIN = 12


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: for each group, the value of each series."""

    title: str
    groups: Mapping[str, Mapping[str, float]]


def bars(title: str, below: str, series: Mapping[str, str], panels: Sequence[Panel]) -> str:
    """The text of an SVG; `series` maps each bar of a group to its title."""
    group = BAR * len(series) + GAP
    widths = [group * len(panel.groups) for panel in panels]
    width = max(2 * MARGIN + sum(widths) + PANEL_GAP * (len(panels) - 1), NARROWEST)
    floor = HEADING + LINE * len(series) + HEIGHT
    highest = max(max(values.values()) for panel in panels for values in panel.groups.values())
    parts = [_text(MARGIN, 20, title, size=15, weight="600"), *_legend(series)]
    left = MARGIN
    for panel, panel_width in zip(panels, widths, strict=True):
        parts += _panel(panel, left, panel_width, floor, list(series), highest)
        parts.append(_text(left + panel_width / 2, floor + 36, below, anchor="middle"))
        left += panel_width + PANEL_GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {floor + BOTTOM}" '
        f'width="{width}" height="{floor + BOTTOM}" font-family="system-ui, sans-serif" '
        f'role="img">\n<title>{escape(title)}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _legend(series: Mapping[str, str]) -> list[str]:
    parts = []
    for line, (colour, title) in enumerate(zip(COLORS, series.values(), strict=False)):
        y = 42 + line * LINE
        parts.append(f'<rect x="{MARGIN}" y="{y - 10}" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(MARGIN + 18, y, title))
    return parts


def _panel(
    panel: Panel, left: int, width: int, floor: int, names: Sequence[str], highest: float
) -> list[str]:
    parts = [
        _text(left, floor - HEIGHT, panel.title, size=13, weight="600"),
        f'<line x1="{left}" y1="{floor}" x2="{left + width}" y2="{floor}" stroke="{GREY}"/>',
    ]
    group_width = width / len(panel.groups)
    for number, (group, values) in enumerate(panel.groups.items()):
        group_left = left + number * group_width
        parts.append(_text(group_left + group_width / 2, floor + 18, group, anchor="middle"))
        for place, name in enumerate(names):
            if name in values:
                x = group_left + GAP / 2 + place * BAR
                parts += _bar(x, floor, values[name], highest, COLORS[place])
    return parts


def _bar(x: float, floor: int, value: float, highest: float, colour: str) -> list[str]:
    tall = round((HEIGHT - 30) * value / highest, 1)
    top = round(floor - tall, 1)
    return [
        f'<rect x="{x + 1:g}" y="{top:g}" width="{BAR - 2}" height="{tall:g}" fill="{colour}"/>',
        _text(x + BAR / 2, top - 4, f"{value:,.0f}", size=10, anchor="middle"),
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "400"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{GREY}">{escape(text)}</text>'
    )
