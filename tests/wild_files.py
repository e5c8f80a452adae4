"""Tables as people have them, and the outcome of loading each. docs/files.md lists them, too."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Records = Mapping[str, Mapping[str, Any]]  # by their ids


@dataclass(frozen=True)
class WildFile:
    """A file, and the outcome: the records, parts of the errors and of the notes.

    `options` are those of an import; the command has the same with dashes.
    """

    title: str
    content: bytes
    records: Records = field(default_factory=dict)
    errors: Sequence[str] = ()
    notes: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = "table.csv"


WESTERN = "id,chunk_text,price\n1,Crème brûlée,£3\n2,It’s the baker’s “best” – 5 €,£4\n"
WESTERN_RECORDS: Records = {
    "1": {"chunk_text": "Crème brûlée", "price": "£3"},
    "2": {"chunk_text": "It’s the baker’s “best” – 5 €", "price": "£4"},
}
PLAIN: Records = {"1": {"chunk_text": "one", "n": 5}, "2": {"chunk_text": "two", "n": 6}}
ENGLISH: Records = {"1": {"chunk_text": "one, two", "n": 5}, "2": {"chunk_text": "three", "n": 6}}


def plain(delimiter: str, end: str = "\n") -> bytes:
    rows = ["id", "chunk_text", "n"], ["1", "one", "5"], ["2", "two", "6"]
    return "".join(delimiter.join(row) + end for row in rows).encode()


def large(rows: int) -> bytes:
    """A table of Excel in Windows-1252, with cells that are missing at the end of some rows."""
    lines = (f"{n};Über den Fluß {n}" + f";{n}" * (n % 3) + ";" * (n % 2) for n in range(rows))
    return ("id;chunk_text;n;m;\r\n" + "\r\n".join(lines) + "\r\n").encode("windows-1252")


def large_record(n: int) -> dict[str, Any]:
    more = dict.fromkeys(("n", "m")[: n % 3], n)
    return {"chunk_text": f"Über den Fluß {n}", **more}


WILD_FILES = [
    # Encodings.
    WildFile("UTF-8", WESTERN.encode(), WESTERN_RECORDS),
    WildFile("UTF-8 with a byte order mark", b"\xef\xbb\xbf" + WESTERN.encode(), WESTERN_RECORDS),
    WildFile(
        "UTF-16 with a byte order mark (Excel's “Unicode text”)",
        WESTERN.replace(",", "\t").encode("utf-16"),
        WESTERN_RECORDS,
        notes=["read as utf-16 and with tabs between the cells"],
    ),
    WildFile(
        "UTF-16 without a byte order mark",
        WESTERN.encode("utf-16-be"),
        WESTERN_RECORDS,
        notes=["read as utf-16-be"],
    ),
    WildFile(
        "Windows-1252",
        WESTERN.encode("windows-1252"),
        WESTERN_RECORDS,
        notes=["read as windows-1252"],
    ),
    WildFile(
        "Latin-1",
        "id,chunk_text\n1,Garçon à São Tomé\n".encode("latin-1"),
        {"1": {"chunk_text": "Garçon à São Tomé"}},
        notes=["read as windows-1252"],
    ),
    WildFile(
        "Windows-1251 (Cyrillic), not named",
        "id,chunk_text\n1,Анна пошла домой\n2,plain\n".encode("windows-1251"),
        {"2": {"chunk_text": "plain"}},
        errors=["line 2: is not valid UTF-8: say which encoding it has, such as"],
    ),
    WildFile(
        "Windows-1251, named",
        "id,chunk_text\n1,Анна пошла домой\n".encode("windows-1251"),
        {"1": {"chunk_text": "Анна пошла домой"}},
        options={"encoding": "windows-1251"},
    ),
    WildFile(
        "Shift JIS, named",
        "id,chunk_text\n1,花子は東京へ行った\n".encode("shift_jis"),
        {"1": {"chunk_text": "花子は東京へ行った"}},
        options={"encoding": "shift_jis"},
    ),
    WildFile(
        "UTF-8 with one damaged line",
        "id,chunk_text\n1,Zoë\n".encode() + b"2,dam\xffaged\n" + "3,Chloë\n".encode(),
        {"1": {"chunk_text": "Zoë"}, "3": {"chunk_text": "Chloë"}},
        errors=["line 3: is not valid UTF-8"],
    ),
    # Delimiters.
    WildFile("commas", plain(","), PLAIN),
    WildFile("semicolons", plain(";"), PLAIN, notes=["with `;` between the cells"]),
    WildFile("tabs", plain("\t"), PLAIN, notes=["with tabs between the cells"]),
    WildFile("pipes", plain("|"), PLAIN, notes=["with `|` between the cells"]),
    WildFile("another character, named", plain("^"), PLAIN, options={"delimiter": "^"}),
    WildFile(
        "another character, not named",
        plain("^"),
        errors=["has no column 'chunk_text' but 'id^chunk_text^n'"],
    ),
    WildFile(
        "Excel's line `sep=;`",
        b"sep=;\r\n" + plain(";", "\r\n"),
        PLAIN,
        notes=["with `;` between the cells"],
    ),
    WildFile(
        "commas in the texts between semicolons",
        "\n".join(["id;chunk_text;n", "1;a, b, c, d;5", "2;e, f, g, h;6", ""]).encode(),
        {"1": {"chunk_text": "a, b, c, d", "n": 5}, "2": {"chunk_text": "e, f, g, h", "n": 6}},
        notes=["with `;` between the cells"],
    ),
    # Rows and columns.
    WildFile(
        "Excel's empty columns and rows at the end",
        b"id,chunk_text,n,,,\r\n1,one,5,,,\r\n2,two,6,,,\r\n,,,,,\r\n,,,,,\r\n",
        PLAIN,
    ),
    WildFile(
        "short rows, and longer ones with empty cells",
        b"id,chunk_text,n\n1,one\n2,two,6,,\n3,three,,,,\n",
        {
            "1": {"chunk_text": "one"},
            "2": {"chunk_text": "two", "n": 6},
            "3": {"chunk_text": "three"},
        },
    ),
    WildFile(
        "a comma in a cell without quotes",
        b"id,chunk_text,n\n1,one, and more,5\n2,two,6\n",
        {"2": {"chunk_text": "two", "n": 6}},
        errors=["line 2: has 4 cells, and the header has 3: put a cell with `,` in it in double"],
    ),
    WildFile(
        "two columns with one name",
        b"id,chunk_text,tag,tag\n1,one,a,b\n",
        {"1": {"chunk_text": "one", "tag": "a", "tag_2": "b"}},
        notes=["the column 'tag' is there again; this one is named 'tag_2'"],
    ),
    WildFile(
        "a column without a name",
        b",chunk_text,id\n7,one,1\n8,two,2\n",
        {"1": {"chunk_text": "one", "column_1": 7}, "2": {"chunk_text": "two", "column_1": 8}},
        notes=["column 1 has no name, and is named 'column_1'"],
    ),
    WildFile(
        "a space after each comma",
        b'id, chunk_text, n\n1, "one, two", 5\n2, three, 6\n',
        ENGLISH,
    ),
    WildFile(
        "decimal commas",
        b"id;chunk_text;price;weight\n1;one;1,50;0,3\n2;two;1.234,00;\n",
        {
            "1": {"chunk_text": "one", "price": "1,50", "weight": "0,3"},
            "2": {"chunk_text": "two", "price": "1.234,00"},
        },
        notes=["with `;`", "2 columns look like numbers with decimal commas (price, weight)"],
    ),
    WildFile(
        "quotes and line ends inside quotes",
        b'id,chunk_text\r\n1,"She said ""yes"",\r\nand left"\r\n2,5" pipe\r\n',
        {"1": {"chunk_text": 'She said "yes",\r\nand left'}, "2": {"chunk_text": '5" pipe'}},
    ),
    WildFile(
        "quotes inside quotes that are not doubled",
        b'id,chunk_text\n1,"She said "yes" to me"\n2,two\n',
        {"2": {"chunk_text": "two"}},
        errors=['line 2: is not CSV: has a quote in a quoted cell: write it twice ("")'],
    ),
    WildFile(
        "a quote that is never closed",
        b'id,chunk_text\n1,one\n2,"two\n3,three\n',
        {"1": {"chunk_text": "one"}},
        errors=["line 3: is not CSV: has a quote that is never closed: close it, or write it"],
    ),
    WildFile("lines that end in CR (old Macs)", plain(",", "\r"), PLAIN),
    WildFile(
        "a NUL in a cell",
        b"id,chunk_text\n1,one\0two\n",
        {"1": {"chunk_text": "one\0two"}},
    ),
    WildFile(
        "no column with the text",
        b"id;title\n1;one\n",
        errors=["line 1: is the header, and has no column 'chunk_text' but 'id', 'title': give"],
        notes=["with `;` between the cells"],
    ),
    # Not tables.
    WildFile("an empty file", b"", errors=["have no records"]),
    WildFile("a header without rows", b"id,chunk_text\n", errors=["have no records"]),
    WildFile(
        "a binary file",
        random.Random(1).randbytes(5000),
        errors=["is a binary file, not a text: save or export it as CSV"],
    ),
    WildFile(
        "an Excel workbook",
        b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(range(256)),
        errors=["is an Excel workbook or another ZIP archive: save or export it as CSV"],
    ),
    WildFile(
        "a file of bzip2",
        b"BZh91AY&SY" + bytes(range(256)),
        errors=["is compressed with bzip2, and only gzip is unpacked: unpack it first"],
    ),
    # Other forms.
    WildFile(
        "gzip of UTF-16",
        gzip.compress(WESTERN.encode("utf-16"), mtime=0),
        WESTERN_RECORDS,
        notes=["read as utf-16"],
        name="table.csv.gz",
    ),
    WildFile(
        "JSON Lines in UTF-16",
        (json.dumps({"id": "1", "chunk_text": "Zoë"}, ensure_ascii=False) + "\n").encode("utf-16"),
        {"1": {"chunk_text": "Zoë"}},
        notes=["read as utf-16"],
        name="lines.ndjson",
    ),
    WildFile(
        "many rows of Excel, in Windows-1252",
        large(3000),
        {str(n): large_record(n) for n in range(3000)},
        notes=["read as windows-1252 and with `;` between the cells"],
    ),
]
