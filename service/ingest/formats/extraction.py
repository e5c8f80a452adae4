"""A program that prints the headings and paragraphs of the PDF or HTML on stdin, as JSON lines.

It runs as a process of its own, with limits: a hostile file can keep a parser busy for hours, fill
the memory, or crash it. Then this process ends, and nothing else. It imports nothing of the
service, so that it starts quickly.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

MAX_PAGES = 5_000
MAX_CHARACTERS = 50_000_000
MEMORY_BYTES = 2_000_000_000
CPU_S = 300

HEADINGS = {f"h{level}": level for level in range(1, 7)}
LEFT_OUT = {
    *("script", "style", "noscript", "template", "svg", "math", "iframe", "object"),
    *("nav", "footer", "button", "select", "textarea", "dialog"),
}
BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl"),
    *("dt", "fieldset", "figcaption", "figure", "form", "header", "hr", "li", "main", "ol", "p"),
    *("pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    *HEADINGS,
}
CELLS = {"td", "th"}
META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
META_BYTES = 2048
HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zß-öø-ÿ])")

Block = dict[str, Any]


class Refused(Exception):
    """The file can't be read; the message is the reason."""


def main(kind: str, step_s: float) -> None:
    """`step_s` is the longest time for a page, or for all of an HTML file."""
    with contextlib.suppress(ValueError, OSError):  # not every system limits memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    data = sys.stdin.buffer.read()
    try:
        for block in checked(
            pdf_blocks(data, step_s) if kind == "pdf" else html_blocks(data, step_s)
        ):
            write(**block)
    except Refused as exc:
        write(kind="error", text=str(exc))
    except Exception as exc:  # a parser may raise anything
        write(kind="error", text=f"can't be read (any further): {exc or type(exc).__name__}"[:300])


def write(**block: Any) -> None:
    sys.stdout.write(json.dumps(block) + "\n")
    sys.stdout.flush()


def checked(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks without characters that no text has, and not without an end."""
    count = 0
    for block in blocks:
        text = block["text"].replace("\0", " ").encode(errors="replace").decode()
        count += len(text)
        if count > MAX_CHARACTERS:
            raise Refused(f"has more than {MAX_CHARACTERS:,} characters")
        yield block | {"text": text}
    if not count:
        raise Refused("has no text; if its pages are images, recognize their text first (OCR)")


def limit_step(step_s: float) -> None:
    """End this process if the next step takes too long, in whatever code it is then."""
    signal.setitimer(signal.ITIMER_VIRTUAL, step_s)


def pdf_blocks(data: bytes, step_s: float) -> Iterator[Block]:
    """The paragraphs of each page."""
    from pypdf import PdfReader  # noqa: PLC0415 - only one of the two parsers is needed

    limit_step(step_s)
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("is encrypted: save it without a password first")
    pages = len(reader.pages)
    if pages > MAX_PAGES:
        raise Refused(f"has {pages:,} pages, and at most {MAX_PAGES:,} are read: split it first")
    for number in range(1, pages + 1):
        limit_step(step_s)
        try:
            text = HYPHENATED.sub("", reader.pages[number - 1].extract_text())
        except Exception as exc:  # the next page may be readable
            reason = f"can't be read: {exc or type(exc).__name__}"[:300]
            yield {"kind": "error", "text": reason, "page": number}
            continue
        for paragraph in re.split(r"\n[ \t]*\n", text):
            if paragraph.strip():
                yield {"kind": "prose", "text": paragraph.strip(), "page": number}


def html_blocks(data: bytes, step_s: float) -> Iterator[Block]:
    """The headings, paragraphs and preformatted texts of the main part, or of the whole body."""
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415

    limit_step(step_s)
    parser = LexborHTMLParser(decode_html(data))
    main = parser.css_first("main")
    title = parser.css_first("head > title")
    if title is not None and parser.css_first("h1") is None and title.text().strip():
        yield {"kind": "heading", "text": " ".join(title.text().split()), "level": 1}
    body = main if main is not None else parser.body
    if body is not None:
        yield from _walk(body)


def _walk(root: Any) -> Iterator[Block]:
    """The texts in their order, without recursion: the nesting has no limit."""
    words: list[str] = []
    heading = preformatted = 0
    node = root
    while True:
        tag, child = node.tag, None
        if tag == "-text":
            text = node.text_content or ""
            words.append(text if preformatted else re.sub(r"\s+", " ", text))
        elif tag == "br":
            words.append("\n")
        elif tag not in LEFT_OUT and not tag.startswith("-"):
            child = node.child
            if tag in CELLS:
                words.append(" ")
            elif tag in BLOCKS:
                yield from _block(words, heading, preformatted)
                words = ["- "] if tag == "li" else []
                heading = HEADINGS.get(tag, heading)
                preformatted += tag == "pre"
        while child is None:  # after the last node of a parent, the parent ends, too
            if node.tag in BLOCKS:
                yield from _block(words, heading, preformatted)
                words = []
                heading = 0 if node.tag in HEADINGS else heading
                preformatted -= node.tag == "pre"
            if node.mem_id == root.mem_id:
                return
            child = node.next
            if child is None:
                node = node.parent
        node = child


def _block(words: list[str], heading: int, preformatted: int) -> Iterator[Block]:
    text = "".join(words)
    if preformatted:
        text = text.strip("\n")
    else:
        text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
    if not text.strip(" -\n"):
        return
    if heading:
        yield {"kind": "heading", "text": " ".join(text.split()), "level": heading}
    else:
        yield {"kind": "code" if preformatted else "prose", "text": text}


def decode_html(data: bytes) -> str:
    """Decode by the byte order mark, else as UTF-8 if it is valid, else as the page says."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = META_CHARSET.search(data[:META_BYTES])
        name = declared[1].decode("ascii", "replace") if declared else "windows-1252"
        try:
            return data.decode(name, "replace")
        except (LookupError, ValueError):
            return data.decode("windows-1252", "replace")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
