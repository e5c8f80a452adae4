"""The arguments of `load`, and its help."""

from __future__ import annotations

import argparse

from service.commands.parsing import add_target_arguments, whole
from service.ingest.formats.delimited import is_delimiter
from service.ingest.formats.encoding import is_encoding
from service.ingest.inputs import FORMATS
from service.ingest.text_source import parse_template

DESCRIPTION = """\
Load records. A record replaces the one with the same id, so a load can be repeated.

JSON Lines (.jsonl, .ndjson) has one object per line, JSON (.json) may be one array of objects. CSV
and TSV have a header. A cell that is the JSON form of a number, true, false, a string ("007") or a
list of strings (["a", "b"]) is read as such; any other cell (007, 1,5, True) is a string. The
delimiter (, ; tab |) and the encoding are found in the file, and reported if they are not the usual
ones. The output of /api/export can be loaded. Text and Markdown (.txt, .md) are split into passages
of about 120 to 200 words along headings and paragraphs, with the fields source, title and position;
a folder stands for all such files in it. So are PDF and HTML, if the extra for them is installed:
pip install 'cascade-search[documents]'. Every file may be compressed with gzip.

The id is the field _id or id; a record without one gets a hash of its content. The id of a passage
is the folder's name, the path of the file in it, # and a number. If a file becomes shorter or is
removed, its old passages stay in the index: delete them there, by their source.

Fields are strings, numbers, booleans and lists of strings; nulls and empty cells are left out. A
nested object becomes fields with dotted names, and any other list is kept as JSON. A record that
can't be loaded is skipped; the exit status is then 1. The first three are shown, with file and
line, and all are written to the file of --errors.
"""
EXAMPLES = """
examples:
  cascade load articles.jsonl
  cascade load people.csv --text-field bio --id-field email --namespace people
  cascade load books.json --text-template "{title}. {summary}"
  cascade load docs/ --url http://127.0.0.1:8000
  zcat dump.gz | jq -c '.items[]' | cascade load -
"""


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a file, a folder of texts, or - for stdin"
    )
    add_target_arguments(parser)
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--format", choices=FORMATS, help="format of the files (by default, by their names)"
    )
    text = reading.add_mutually_exclusive_group()
    text.add_argument(
        "--text-field",
        metavar="NAMES",
        help="field of the text, or several to join: title,body (default: PINECONE_TEXT_FIELD)",
    )
    text.add_argument(
        "--text-template",
        type=_template,
        metavar="TEXT",
        help="the text, with fields in braces: '{title}. {body}'",
    )
    reading.add_argument(
        "--id-field", "--id-column", dest="id_column", metavar="NAME", help="field of the id"
    )
    reading.add_argument(
        "--prefix",
        metavar="NAME",
        help="what the ids of passages begin with (default: the name of the folder)",
    )
    reading.add_argument(
        "--flatten",
        action=argparse.BooleanOptionalAction,
        default=True,
        help='make {"a": {"b": 1}} a field a.b, and a list of anything but texts JSON; '
        "otherwise such records fail (default: --flatten)",
    )
    reading.add_argument(
        "--split", action="store_true", help="split each text into passages: id#0, id#1, ..."
    )
    reading.add_argument(
        "--delimiter",
        type=_delimiter,
        help="separator of CSV: one character, or tab (default: found in the file)",
    )
    reading.add_argument(
        "--encoding",
        type=_encoding,
        metavar="NAME",
        help="such as windows-1252 or utf-16 (default: found in the file)",
    )
    reading.add_argument("--strings", action="store_true", help="read every CSV cell as a string")
    reading.add_argument(
        "--stop-on-error", action="store_true", help="stop at the first record that can't be loaded"
    )
    reading.add_argument(
        "--errors", metavar="FILE", help="write every error to FILE (default: show the first three)"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--batch-size",
        type=whole(1, 10_000),
        metavar="N",
        help="records per batch (default: what suits the backend)",
    )
    writing.add_argument(
        "--concurrency",
        type=whole(1, 64),
        default=4,
        metavar="N",
        help="batches in flight (default: 4)",
    )
    writing.add_argument(
        "--resume",
        action="store_true",
        help="continue the same load where it was interrupted",
    )
    writing.add_argument(
        "--state", metavar="FILE", help="checkpoint file (default: in DATA_DIR/loads)"
    )


def _template(value: str) -> str:
    try:
        parse_template(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return value


def _delimiter(value: str) -> str:
    value = {"tab": "\t", r"\t": "\t"}.get(value, value)
    if not is_delimiter(value):
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return value


def _encoding(value: str) -> str:
    if not is_encoding(value):
        raise argparse.ArgumentTypeError(
            f"{value!r} is no encoding that Python knows; try utf-8, utf-16, windows-1252, "
            "iso-8859-2, windows-1251, shift_jis or gb18030"
        )
    return value
