"""Text and Markdown files as records: one for each passage, with an id that stays.

An id is the file's path, `#`, and the passage's number in it. So what has changed in a file takes
the place of what was there. But the last passages of a file that has become shorter stay, as do
those of a file that is gone: nobody here can delete.
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
from service.ingest.items import Fault, Item, Rules
from service.ingest.passages import split
from service.ingest.reading import NOT_UTF8

MAX_TEXT_LINE = 1_000_000  # characters; what is longer is taken in pieces
NUMBER_LENGTH = 12
PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def parse(
    stream: BinaryIO, name: str, source: str, rules: Rules, *, markdown: bool
) -> Iterator[Item]:
    """The passages of a file."""
    # Made whole by the decoder, which also takes away a byte order mark.
    decoded = io.TextIOWrapper(stream, encoding=codecs.lookup("utf-8-sig").name)
    texts = Rules(rules.text_field)
    prefix, shown = id_prefix(source), source.encode(errors="replace").decode()
    count = 0
    try:
        lines = iter(lambda: decoded.readline(MAX_TEXT_LINE), "")
        for count, passage in enumerate(split(lines, markdown=markdown), 1):
            yield texts.record(
                f"{name} passage {count - 1}",
                {
                    "source": shown,
                    "title": " › ".join(passage.title) or None,
                    "position": count - 1,
                    rules.text_field: passage.text,
                    "_id": f"{prefix}#{count - 1}",
                },
            )
    except UnicodeDecodeError:
        after = f"; what comes after passage {count - 1} is left out" if count else ""
        yield Fault(name, NOT_UTF8 + after)
    finally:
        decoded.detach()  # whoever opened the bytes closes them


def id_prefix(source: str) -> str:
    """A path as part of an id: in ASCII, of bounded length, and never the same for two paths."""
    raw = os.fsencode(source)
    encoded = source if set(source) <= set(PLAIN) else quote(raw, safe=PLAIN)
    longest = MAX_ID_LENGTH - NUMBER_LENGTH
    if len(encoded) <= longest:
        return encoded
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return f"{encoded[: longest - 33]}~{digest}"
