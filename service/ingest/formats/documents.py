"""Parser for PDF and HTML files: one record for each passage, as for text files.

The parsers are an optional extra, and run in a process of their own: see `extraction.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from service.ingest.formats.text_files import passage_record
from service.ingest.passages import Block, split_blocks
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping

PARSERS: dict[str, str] = {"pdf": "pypdf", "html": "selectolax"}
MAX_BYTES: dict[str, int] = {"pdf": 200_000_000, "html": 20_000_000}
SHOWN: dict[str, str] = {"pdf": "a PDF", "html": "HTML"}
EXTRA = "pip install 'cascade-search[documents]'"
STEP_S = 20.0  # the longest processor time for a page, or for all of an HTML file
EXTRACTION = Path(__file__).with_name("extraction.py")


def missing_parser(format: str) -> str:
    """What to do about a parser that is not installed."""
    return f"is {SHOWN[format]}, which needs another package: {EXTRA}"


def is_installed(format: str) -> bool:
    """Whether the parser of the format is installed."""
    return importlib.util.find_spec(PARSERS[format]) is not None


def parse(
    stream: BinaryIO,
    name: str,
    source: str,
    rules: RecordMapping,
    format: str,
    encoding: str | None = None,
    step_s: float = STEP_S,
) -> Iterator[Item]:
    """The items of a file. What is read before an error is loaded. `encoding` is that of HTML."""
    if not is_installed(format):
        yield RecordError(name, missing_parser(format))
        return
    data = stream.read(MAX_BYTES[format] + 1)
    if len(data) > MAX_BYTES[format]:
        yield RecordError(name, f"has more than {MAX_BYTES[format]:,} bytes: split it first")
        return
    if encoding and format == "html":
        data = data.decode(encoding, "replace").encode(errors="replace")
    errors: list[RecordError] = []  # of single pages
    try:
        blocks = _blocks(_extract(data, format, step_s), name, errors)
        for number, passage in enumerate(split_blocks(blocks)):
            yield passage_record(name, source, number, passage, rules)
        yield from errors
    except InvalidRecord as exc:
        yield from errors
        yield RecordError(name, str(exc))


def _blocks(
    extracted: Iterator[dict[str, Any]], name: str, errors: list[RecordError]
) -> Iterator[Block]:
    for found in extracted:
        if found["kind"] != "error":
            yield Block(found["kind"], found["text"], found.get("level", 0), found.get("page"))
        elif page := found.get("page"):
            errors.append(RecordError(name, f"page {page} {found['text']}"))
        else:
            raise InvalidRecord(found["text"])


def _extract(data: bytes, format: str, step_s: float) -> Iterator[dict[str, Any]]:
    """What the process prints. Raises `InvalidRecord` if it ends before the document does."""
    command = [sys.executable, "-P", str(EXTRACTION), format, str(step_s)]
    process = subprocess.Popen(  # noqa: S603 - a program of ours
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C ends the load, which ends this
    )
    assert process.stdin and process.stdout  # noqa: S101, PT018 - as asked for
    with process:
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(data)
                process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
            if process.wait():
                raise InvalidRecord("can't be read (any further): it takes too much time or memory")
        finally:
            process.kill()
