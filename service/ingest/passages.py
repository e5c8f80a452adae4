"""Splits texts into passages of about 120 to 200 words.

A passage ends at the end of a section, else of a paragraph, else of a sentence. A code block is not
split unless it is huge. Passages do not overlap, and only Markdown's front matter is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

LEAST, MOST = 120, 200  # words
SMALL = 40  # a shorter section is joined with the next one
WHOLE = 400  # the longest code block that is not split
LETTERS = 12  # the longest "word", for languages without spaces
FRONT_MATTER = 200  # lines, at most
MAX_BLOCK = 50_000  # characters of one block that are held in memory

HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*")
WORD = re.compile(r"\S+\s*")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
UNIT_END = re.compile(
    r"""(?<=[.!?…])["'”’)\]]*\s+(?=["'“‘(\[]?[^\W_a-z])"""  # a sentence
    r"""|(?<=[。！？])|\n(?=[ \t]*(?:[-*+]|\d{1,9}[.)]|\|)[ \t])"""  # or an item of a list
)

Kind = Literal["heading", "prose", "code"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text, the headings that all of it stands under, and the page it begins on."""

    title: tuple[str, ...]
    text: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    kind: Kind
    text: str
    level: int = 0
    page: int | None = None


@dataclass(slots=True)
class _PassageBuilder:
    """The passage that is being filled."""

    parts: list[str] = field(default_factory=list)
    size: int = 0
    has_body: bool = False
    titles: list[tuple[str, ...]] = field(default_factory=list)
    page: int | None = None

    def add(
        self,
        text: str,
        title: tuple[str, ...],
        *,
        body: bool,
        new_block: bool,
        page: int | None = None,
    ) -> None:
        if not self.parts:
            self.page = page
        elif new_block:
            self.parts.append("\n\n")
        self.parts.append(text)
        self.size += size(text)
        if body:
            self.has_body = True
            self.titles.append(title)

    def passage(self, title: tuple[str, ...]) -> Passage:
        shared = _shared(self.titles or [title])
        return Passage(shared, "".join(self.parts).strip(), self.page)


def split(lines: Iterator[str], *, markdown: bool) -> Iterator[Passage]:
    """The passages of a text that comes line by line."""
    return split_blocks(_markdown(lines) if markdown else _plain(lines))


def split_blocks(blocks: Iterator[Block]) -> Iterator[Passage]:
    """The passages of a text that comes block by block."""
    builder = _PassageBuilder()
    trail: list[tuple[int, str]] = []
    title: tuple[str, ...] = ()
    for block in blocks:
        if block.kind == "heading":
            if builder.has_body and builder.size >= SMALL:
                yield builder.passage(title)
                builder = _PassageBuilder()
            trail = [each for each in trail if each[0] < block.level]
            trail.append((block.level, block.text))
            title = tuple(text for _, text in trail)
            builder.add(block.text, title, body=False, new_block=True, page=block.page)
            continue
        words = size(block.text)
        if builder.has_body and builder.size >= LEAST and builder.size + words > MOST:
            yield builder.passage(title)
            builder = _PassageBuilder()
        for number, unit in enumerate(_units(block, words)):
            if builder.has_body and builder.size + size(unit) > MOST:
                yield builder.passage(title)
                builder = _PassageBuilder()
            builder.add(unit, title, body=True, new_block=number == 0, page=block.page)
    if builder.size:
        yield builder.passage(title)


def size(text: str) -> int:
    """How many words a text has."""
    return max(len(text.split()), len(text) // LETTERS)


def _shared(titles: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all have in common; those of the first if there is no such heading."""
    same = [level[0] for level in takewhile(lambda each: len(set(each)) == 1, zip(*titles))]  # noqa: B905 - as long as the shortest
    return tuple(same) or titles[0]


def _units(block: Block, words: int) -> Iterator[str]:
    """The parts of a block between which it may be cut."""
    if words <= (WHOLE if block.kind == "code" else MOST):
        yield block.text
        return
    if block.kind == "code":
        ends = [found.end() for found in re.finditer(r"\n", block.text)]
    else:
        ends = [found.end() for found in UNIT_END.finditer(block.text)]
    start = 0
    for end in [*ends, len(block.text)]:
        yield from _cut(block.text[start:end])
        start = end


def _cut(unit: str) -> Iterator[str]:
    """A sentence that is longer than a passage has to be cut: between words, if it has any."""
    start, most = 0, MOST * LETTERS
    while len(unit) - start >= most + LETTERS or size(unit[start:]) > MOST:
        end = start
        for count, found in enumerate(WORD.finditer(unit, start, start + most + 1)):
            if count == MOST or found.end() - start > most:
                break
            end = found.end()
        end = start + most if end == start else end
        yield unit[start:end]
        start = end
    if start < len(unit):
        yield unit[start:]


def _plain(lines: Iterator[str]) -> Iterator[Block]:
    """Paragraphs."""
    pending: list[str] = []
    length = 0
    for line in lines:
        if line.strip():
            pending.append(line.rstrip("\n"))
            length += len(line)
        if pending and (not line.strip() or length > MAX_BLOCK):
            yield Block("prose", "\n".join(pending))
            pending, length = [], 0
    if pending:
        yield Block("prose", "\n".join(pending))


def _markdown(lines: Iterator[str]) -> Iterator[Block]:
    """Headings, paragraphs and fenced code."""
    pending: list[str] = []
    length = 0
    fence = ""
    for line in _without_front_matter(lines):
        bare = line.rstrip("\n")
        length += len(line)
        if fence:
            pending.append(bare)
            if _closes(bare, fence) or length > MAX_BLOCK:
                yield Block("code", "\n".join(pending))
                fence = fence if not _closes(bare, fence) else ""
                pending, length = [], 0
            continue
        opening, heading = FENCE.fullmatch(bare), HEADING.fullmatch(bare)
        if len(pending) == 1 and (under := UNDERLINE.fullmatch(bare)):
            yield Block("heading", pending[0].strip(), 1 if "=" in under[1] else 2)
            pending, length = [], 0
            continue
        if pending and (opening or heading or not bare.strip() or length > MAX_BLOCK):
            yield Block("prose", "\n".join(pending))
            pending, length = [], 0
        if opening:
            fence, pending = opening[1], [bare]
        elif heading:
            if heading[2]:
                yield Block("heading", heading[2].strip(), len(heading[1]))
        elif bare.strip():
            pending.append(bare)
    if pending:
        yield Block("code" if fence else "prose", "\n".join(pending))


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and not bare.strip(fence[0])


def _without_front_matter(lines: Iterator[str]) -> Iterator[str]:
    """YAML between two lines of `---` at the very top says things about the text; it is not it."""
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if pending[0].rstrip() != "---" or len(pending) > FRONT_MATTER:
            break
        if len(pending) > 1 and line.rstrip() in {"---", "..."}:
            pending = []
            break
    yield from pending
    yield from lines
