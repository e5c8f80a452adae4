"""Fenced code blocks of a Markdown page, with the directive that stands in front of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(
    r"(?:^<!-- doc-test: (?P<directive>[^\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block. `directive` is the text of `<!-- doc-test: … -->` directly above it."""

    page: str
    line: int
    language: str
    title: str | None
    code: str
    directive: str | None

    @property
    def is_output(self) -> bool:
        """Whether it is what the command before it prints."""
        return self.language in {"json", "text"} and self.title is None

    @property
    def place(self) -> str:
        """The page and the line of the block's first line of code."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """The pages whose examples are tested, relative to the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [str(path.relative_to(ROOT)) for path in found]


def read_blocks(page: str, text: str | None = None) -> list[Block]:
    """The blocks of a page in order; `text` replaces what stands in the file."""
    text = (ROOT / page).read_text() if text is None else text
    blocks = []
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = TITLE.search(rest)
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["code"].splitlines(True))
        line = text.count("\n", 0, match.start("code")) + 1
        blocks.append(Block(page, line, language, title and title[1], code, match["directive"]))
    return blocks
