"""Parses all inputs into one stream of items."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

from service.ingest.formats import delimited, documents, jsonl, text_files
from service.ingest.formats.encoding import (
    detect_encoding,
    has_carriage_returns_only,
    is_utf8,
    open_as_utf8,
)
from service.ingest.formats.json_array import is_array
from service.ingest.inputs import TEXT_FORMATS, FoundInputs, Input
from service.ingest.reading import (
    HEAD,
    START,
    UNREADABLE,
    Position,
    ReadMeter,
    open_input,
    read_head,
)
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping
from service.ingest.splitting import split_records


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How the inputs are parsed. Encoding and delimiter are found in the file unless given."""

    rules: RecordMapping
    delimiter: str | None = None
    strings: bool = False
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Assumptions:
    """How a file is read, from its first bytes; `notes` say what a user should know of it.

    With `is_converted`, positions in the file are not those of its bytes.
    """

    encoding: str
    is_converted: bool
    replace_cr: bool
    delimiter: str = ","
    spaced: bool = False
    notes: tuple[str, ...] = ()
    is_array: bool = False


def parse_inputs(
    found: FoundInputs,
    options: ParseOptions,
    meter: ReadMeter,
    note: Callable[[str, str], None] = lambda name, sentence: None,  # noqa: ARG005
) -> Iterator[Item]:
    """Records and errors, in the same order each time.

    `note` is called with the name of a file and what a user should know about how it is read.
    """
    yield from found.errors
    for each in found.inputs:

        def report(assumed: Assumptions, name: str = each.name) -> None:
            for sentence in assumed.notes:
                note(name, sentence)

        try:
            with open_input(each.path, meter) as stream:
                yield from parse_input(stream, each, options, report=report)
        except (*UNREADABLE, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            yield RecordError(each.name, f"can't be read (any further): {reason}")


def parse_input(
    stream: BinaryIO,
    input: Input,
    options: ParseOptions,
    after: Position = START,
    report: Callable[[Assumptions], None] = lambda _: None,
) -> Iterator[Item]:
    """The items of one file that follow the position `after`.

    `report` is called before the first item.
    """
    rules = options.rules
    if input.format in documents.PARSERS:
        items = documents.parse(
            stream, input.name, input.source, rules, input.format, options.encoding
        )
    else:
        try:
            assumed = _assume(read_head(stream, input.path), input, options)
        except InvalidRecord as exc:
            yield RecordError(input.name, str(exc))
            return
        report(assumed)
        if assumed.is_converted:
            stream = open_as_utf8(stream, assumed.encoding, replace_cr=assumed.replace_cr)
        items = _items(stream, input, options, assumed, after.line_start)
    if input.format in TEXT_FORMATS:
        items = _numbered(items)
    elif rules.split:
        items = split_records(items, rules.text_field, after.line_start)
    yield from islice(items, after.items, None)


def _numbered(items: Iterator[Item]) -> Iterator[Item]:
    """The items of a file without lines, with their positions."""
    for number, item in enumerate(items, 1):
        yield replace(item, after=Position(items=number))


def _items(
    stream: BinaryIO,
    input: Input,
    options: ParseOptions,
    assumed: Assumptions,
    after: Position,
) -> Iterator[Item]:
    name, rules, encoding = input.name, options.rules, assumed.encoding
    if input.format == "jsonl":
        parse = jsonl.parse_array if assumed.is_array else jsonl.parse
        yield from parse(stream, name, rules, after, encoding)
    elif input.format in {"csv", "tsv"}:
        yield from delimited.parse(
            stream,
            name,
            rules,
            after,
            delimiter=assumed.delimiter,
            strings=options.strings,
            spaced=assumed.spaced,
            encoding=encoding,
        )
    else:
        markdown = input.format == "markdown"
        yield from text_files.parse(
            stream, name, input.source, rules, markdown=markdown, encoding=encoding
        )


def _assume(head: bytes, input: Input, options: ParseOptions) -> Assumptions:
    """How to read a file that begins with `head`. Raises `InvalidRecord` if it can't be."""
    encoding = options.encoding or detect_encoding(head)
    rules = options.rules
    read_as: list[str] = []
    named: list[str] = []
    notes: list[str] = []
    if not options.encoding and not is_utf8(encoding):
        read_as.append(f"as {encoding}")
        named.append(rules.named("encoding"))
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    except UnicodeError:  # UTF-16 and UTF-32 need a byte order mark
        raise InvalidRecord(rules.not_valid(encoding)) from None
    replace_cr = has_carriage_returns_only(text)
    delimiter, spaced = ",", False
    if input.format in {"csv", "tsv"}:
        usual = "\t" if input.format == "tsv" else ","
        lines = _whole_lines(text, is_all=len(head) < HEAD)
        delimiter = options.delimiter or delimited.sniff(lines, rules, usual)
        if not options.delimiter and delimiter != usual:
            read_as.append(f"with {delimited.shown(delimiter)} between the cells")
            named.append(rules.named("delimiter"))
        spaced, notes = delimited.inspect(lines, rules, delimiter, strings=options.strings)
    if read_as:
        wrong = f"if that is wrong, set {' and '.join(named)}"
        notes.insert(0, f"read {' and '.join(read_as)}; {wrong}")
    is_converted = replace_cr or not is_utf8(encoding)
    return Assumptions(
        encoding, is_converted, replace_cr, delimiter, spaced, tuple(notes), is_array(text)
    )


def _whole_lines(text: str, *, is_all: bool) -> list[str]:
    """The lines of the beginning of a file, without the last one, which may be cut."""
    text = text.removeprefix("\ufeff")
    if has_carriage_returns_only(text):
        text = text.replace("\r", "\n")
    lines = [line + "\n" for line in text.split("\n")]
    return lines if is_all or len(lines) == 1 else lines[:-1]
