"""All inputs as one stream of items. Knows nothing of where they go."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.ingest import delimited, jsonl, texts
from service.ingest.delimited import Dialect
from service.ingest.inputs import Found, Input
from service.ingest.items import Fault, Item, Rules
from service.ingest.reading import START, Meter, Spot, opened


@dataclass(frozen=True, slots=True)
class Options:
    """How the inputs are to be understood."""

    rules: Rules
    delimiter: str | None = None
    strings: bool = False


def items(found: Found, options: Options, meter: Meter) -> Iterator[Item]:
    """Records and faults, in an order that is the same each time."""
    yield from found.faults
    for each in found.inputs:
        try:
            with opened(each.path, meter) as stream:
                yield from parsed(stream, each, options)
        except (OSError, EOFError, zlib.error, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            yield Fault(each.name, f"can't be read (any further): {reason}")


def parsed(stream: BinaryIO, input: Input, options: Options, after: Spot = START) -> Iterator[Item]:
    """What one file holds. Only one that has lines can be begun in its midst."""
    if input.format == "jsonl":
        return jsonl.parse(stream, input.name, options.rules, after)
    if input.format in {"csv", "tsv"}:
        usual = "\t" if input.format == "tsv" else ","
        dialect = Dialect(options.delimiter or usual, options.strings)
        return delimited.parse(stream, input.name, options.rules, dialect, after)
    markdown = input.format == "markdown"
    return texts.parse(stream, input.name, input.source, options.rules, markdown=markdown)
