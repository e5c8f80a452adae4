"""Parses all inputs into one stream of items."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.ingest import delimited, jsonl, text_files
from service.ingest.inputs import FoundInputs, Input
from service.ingest.reading import START, Position, ReadMeter, open_input
from service.ingest.record import Item, RecordError, RecordMapping


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How the inputs are parsed."""

    rules: RecordMapping
    delimiter: str | None = None
    strings: bool = False


def parse_inputs(found: FoundInputs, options: ParseOptions, meter: ReadMeter) -> Iterator[Item]:
    """Records and errors, in the same order each time."""
    yield from found.errors
    for each in found.inputs:
        try:
            with open_input(each.path, meter) as stream:
                yield from parse_input(stream, each, options)
        except (OSError, EOFError, zlib.error, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            yield RecordError(each.name, f"can't be read (any further): {reason}")


def parse_input(
    stream: BinaryIO, input: Input, options: ParseOptions, after: Position = START
) -> Iterator[Item]:
    """The items of one file. Only formats with lines can start at a position."""
    if input.format == "jsonl":
        return jsonl.parse(stream, input.name, options.rules, after)
    if input.format in {"csv", "tsv"}:
        delimiter = options.delimiter or ("\t" if input.format == "tsv" else ",")
        return delimited.parse(
            stream, input.name, options.rules, after, delimiter=delimiter, strings=options.strings
        )
    markdown = input.format == "markdown"
    return text_files.parse(stream, input.name, input.source, options.rules, markdown=markdown)
