"""Text for a terminal: its width, what it may show, and emphasis where that is welcome.

Knows nothing of what is shown. Nothing that came from a record reaches the terminal as a command.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

NARROWEST = 40
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
JOINERS = {"\u200c", "\u200d"}  # between the letters of some scripts, and inside of emoji
ELLIPSIS = "…"


def columns() -> int:
    """How wide the terminal is; 80 where there is none, unless COLUMNS says otherwise."""
    return max(shutil.get_terminal_size((80, 24)).columns, NARROWEST)


@dataclass(frozen=True, slots=True)
class Style:
    """Emphasis, or none."""

    on: bool

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Style:
        """On a terminal that knows it, unless NO_COLOR is set."""
        dumb = environment.get("TERM") == "dumb"
        return cls(stream.isatty() and not environment.get("NO_COLOR") and not dumb)

    def strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.on else text

    def faint(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.on else text

    def warning(self, text: str) -> str:
        return f"\x1b[33m{text}\x1b[0m" if self.on else text


def printable(text: str) -> str:
    """On one line, and without anything that would make a terminal do more than show it."""
    safe = (
        each if unicodedata.category(each) not in UNSEEN or each in JOINERS else " "
        for each in text
    )
    return " ".join("".join(safe).split())


def width(text: str) -> int:
    """How many columns a text takes."""
    return sum(_width(each) for each in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, room: int, most: int) -> list[str]:
    """At most `most` lines that fit; the last one says by `…` that there is more."""
    lines: list[str] = []
    left = printable(text)
    while left and len(lines) < most:
        line, left = _first_line(left, room)
        lines.append(line)
    if left:
        lines[-1] = _first_line(lines[-1], room - 1, by_letters=True)[0].rstrip() + ELLIPSIS
    return lines


def shortened(text: str, room: int) -> str:
    """As much as fits, with `…` if that is not all."""
    return (wrapped(text, room, 1) or [""])[0] if width(text) <= room else _short(text, room)


def _short(text: str, room: int) -> str:
    return _first_line(printable(text), room - 1, by_letters=True)[0] + ELLIPSIS


def _first_line(text: str, room: int, *, by_letters: bool = False) -> tuple[str, str]:
    """What fits, up to a space if there is one, and the rest."""
    used = 0
    space = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > room:
            cut = space if space and not by_letters else max(index, 1)
            return text[:cut].rstrip(), text[cut:].lstrip()
        if character == " ":
            space = index
    return text, ""
