"""Text for a terminal: width, wrapping and emphasis.

Control characters are removed: no text of a record may send the terminal an escape sequence.
Not Rich: httpx imports it wherever it is installed, in every process (docs/decisions/0018).
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

MIN_COLUMNS = 40
UNPRINTABLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
JOINERS = {"\u200c", "\u200d"}  # zero-width (non-)joiners, in some scripts and in emoji
ELLIPSIS = "…"
MARK, MARK_END = "⟦", "⟧"  # around a word to emphasize, until the text is wrapped


def columns() -> int:
    """The width of the terminal: COLUMNS, or 80 without a terminal."""
    return max(shutil.get_terminal_size((80, 24)).columns, MIN_COLUMNS)


@dataclass(frozen=True, slots=True)
class Style:
    """ANSI emphasis, if `on`."""

    on: bool

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Style:
        """On for a terminal that is not dumb, unless NO_COLOR is set."""
        dumb = environment.get("TERM") == "dumb"
        return cls(stream.isatty() and not environment.get("NO_COLOR") and not dumb)

    def strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.on else text

    def faint(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.on else text

    def warning(self, text: str) -> str:
        return f"\x1b[33m{text}\x1b[0m" if self.on else text

    def marks(self, lines: Sequence[str]) -> Iterator[str]:
        """Lines with what `marked` has marked in bold, or in brackets."""
        begin, end = ("\x1b[1m", "\x1b[0m") if self.on else ("[", "]")
        is_open = False  # a word may go on in the next line
        for line in lines:
            text = f"{MARK * is_open}{line}"
            is_open = text.rfind(MARK) > text.rfind(MARK_END)
            yield f"{text}{MARK_END * is_open}".replace(MARK, begin).replace(MARK_END, end)


def printable(text: str) -> str:
    """The text on one line, without control characters."""
    safe = (
        each if unicodedata.category(each) not in UNPRINTABLE_CATEGORIES or each in JOINERS else " "
        for each in text
    )
    return " ".join("".join(safe).split())


def marked(text: str, ranges: Sequence[Sequence[int]]) -> str:
    """The text with marks around the ranges, for `Style.marks`."""
    parts = []
    done = 0
    for begin, end in ranges:
        parts += [_unmarked(text[done:begin]), MARK, _unmarked(text[begin:end]), MARK_END]
        done = end
    return "".join([*parts, _unmarked(text[done:])])


def _unmarked(text: str) -> str:
    return text.replace(MARK, "[").replace(MARK_END, "]")


def width(text: str) -> int:
    """The number of columns that a text takes."""
    return sum(_width(each) for each in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, room: int, max_lines: int) -> list[str]:
    """At most `max_lines` lines of `room` columns; the last one ends in `…` if there is more."""
    lines: list[str] = []
    left = printable(text)
    while left and len(lines) < max_lines:
        line, left = _first_line(left, room)
        lines.append(line)
    if left:
        lines[-1] = _first_line(lines[-1], room - 1, anywhere=True)[0].rstrip() + ELLIPSIS
    return lines


def shortened(text: str, room: int) -> str:
    """As much of the text as fits, with `…` if that is not all."""
    safe = printable(text)
    if width(safe) <= room:
        return safe
    return _first_line(safe, room - 1, anywhere=True)[0] + ELLIPSIS


def _first_line(text: str, room: int, *, anywhere: bool = False) -> tuple[str, str]:
    """Split after what fits, at a space if there is one."""
    used = 0
    space = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > room:
            cut = space if space and not anywhere else max(index, 1)
            return text[:cut].rstrip(), text[cut:].lstrip()
        if character == " ":
            space = index
    return text, ""
