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
from service.ingest.reading import Meter, opened


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
                yield from _parsed(stream, each, options)
        except (OSError, EOFError, zlib.error, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            yield Fault(each.name, f"can't be read (any further): {reason}")


def _parsed(stream: BinaryIO, input: Input, options: Options) -> Iterator[Item]:
    if input.format == "jsonl":
        return jsonl.parse(stream, input.name, options.rules)
    if input.format in {"csv", "tsv"}:
        usual = "\t" if input.format == "tsv" else ","
        dialect = Dialect(options.delimiter or usual, options.strings)
        return delimited.parse(stream, input.name, options.rules, dialect)
    markdown = input.format == "markdown"
    return texts.parse(stream, input.name, input.source, options.rules, markdown=markdown)
