"""Parser for text and Markdown files: one record for each passage, with a stable id.

The id is the file's path, `#`, and the number of the passage, so loading a changed file replaces
its passages. A load never deletes: the last passages of a file that became shorter stay.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from service.indexes.limits import MAX_ID_LENGTH
from service.ingest.passages import Passage, split
from service.ingest.record import Item, RecordError, RecordMapping

MAX_TEXT_LINE = 1_000_000  # characters; a longer line is split
NUMBER_LENGTH = 12
PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def parse(
    stream: BinaryIO,
    name: str,
    source: str,
    rules: RecordMapping,
    *,
    markdown: bool,
    encoding: str = "utf-8",
) -> Iterator[Item]:
    """The items of a file. `encoding` is the original one, for error messages."""
    # The codec also removes a byte order mark.
    decoded = io.TextIOWrapper(stream, encoding=codecs.lookup("utf-8-sig").name)
    count = 0
    try:
        lines = iter(lambda: decoded.readline(MAX_TEXT_LINE), "")
        for count, passage in enumerate(split(lines, markdown=markdown), 1):
            yield passage_record(name, source, count - 1, passage, rules)
    except UnicodeDecodeError:
        after = f"; what comes after passage {count - 1} is left out" if count else ""
        yield RecordError(name, rules.not_valid(encoding) + after)
    finally:
        decoded.detach()  # the caller closes the stream


def passage_record(
    name: str, source: str, number: int, passage: Passage, rules: RecordMapping
) -> Item:
    """The record of a passage."""
    return RecordMapping(rules.text_field).record(
        f"{name} passage {number}",
        {
            "source": source.encode(errors="replace").decode(),
            "title": " › ".join(passage.title) or None,
            "position": number,
            "page": passage.page,
            rules.text_field: passage.text,
            "_id": f"{id_prefix(source)}#{number}",
        },
    )


def id_prefix(source: str) -> str:
    """A path as part of an id: ASCII, of bounded length, and unique."""
    raw = os.fsencode(source)
    encoded = source if set(source) <= set(PLAIN) else quote(raw, safe=PLAIN)
    longest = MAX_ID_LENGTH - NUMBER_LENGTH
    if len(encoded) <= longest:
        return encoded
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return f"{encoded[: longest - 33]}~{digest}"
