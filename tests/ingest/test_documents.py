"""PDF and HTML files: passages with pages or headings, and hostile files that fail alone."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pypdf
import pytest

from service.errors import CommandFailed
from service.ingest.formats import documents
from service.ingest.inputs import Input, find_inputs
from service.ingest.parsing import ParseOptions, parse_input
from service.ingest.reading import START, Position
from service.ingest.record import Item, RecordMapping
from tests.ingest.parsing import error_messages, parse_files, records, write_file
from tests.ingest.pdf import make_pdf

RULES = RecordMapping("chunk_text")
LINES = "\n".join("This line has some words, and it ends in a stop." for _ in range(30))
PAGE = """<!doctype html><html><head><title>Shop &amp; more</title><style>p {}</style></head><body>
<nav>Home About</nav><main><h2>Bread</h2><p>Rye   <b>keeps</b> long.<br>Wheat does not.
<ul><li>In a bag<li>In a box</ul><pre>two  spaces
and lines</pre><table><tr><td>Rye<td>3</table><script>alert(1)</script></main>
<footer>Imprint</footer></body></html>"""


def parse_bytes(data: bytes, format: str, step_s: float) -> list[Item]:
    return list(documents.parse(io.BytesIO(data), "f", "f", RULES, format, step_s=step_s))


def test_pdf_passages_have_the_page_they_begin_on(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "d" / "a.pdf", make_pdf(["Café (one)", LINES, LINES, "The exam-\nple."])
    )
    first, *others = records(parse_files(path))
    assert first["_id"] == "d/a.pdf#0"
    assert first.items() >= {("source", "d/a.pdf"), ("position", 0), ("page", 1)}
    assert first["chunk_text"].startswith("Café (one)\n\nThis line has")
    assert [record["page"] for record in others] == sorted(record["page"] for record in others)
    assert others[-1]["chunk_text"].endswith("The example.")
    assert len(others) > 2


def test_html_passages_have_headings_and_only_what_is_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "d" / "a.html", PAGE)
    (record,) = records(parse_files(path))
    assert record == {
        "_id": "d/a.html#0",
        "source": "d/a.html",
        "title": "Shop & more › Bread",
        "position": 0,
        "chunk_text": "Shop & more\n\nBread\n\nRye keeps long.\nWheat does not.\n\n- In a bag\n\n"
        "- In a box\n\ntwo  spaces\nand lines\n\nRye 3",
    }


@pytest.mark.parametrize(
    "data",
    [
        "<p>Crème brûlée".encode(),
        "\ufeff<p>Crème brûlée".encode(),
        "<p>Crème brûlée".encode("utf-16"),
        "<p>Crème brûlée".encode("cp1252"),
        '<meta charset="iso-8859-1"><p>Crème brûlée'.encode("latin-1"),
        "<meta charset=no-such-encoding><p>Crème brûlée".encode("cp1252"),
        gzip.compress("<p>Crème brûlée".encode(), mtime=0),
    ],
)
def test_encoding_of_html_is_found(tmp_path: Path, data: bytes) -> None:
    (record,) = records(parse_files(write_file(tmp_path / "a.htm", data)))
    assert record["chunk_text"] == "Crème brûlée"


def test_folder_has_its_pdf_and_html_files(tmp_path: Path) -> None:
    write_file(tmp_path / "a.pdf", make_pdf(["One"]))
    write_file(tmp_path / "b" / "c.HTML", "<p>Two")
    write_file(tmp_path / "d.md", "Three")
    texts = [record["chunk_text"] for record in records(parse_files(tmp_path))]
    assert texts == ["One", "Three", "Two"]


def test_broken_page_fails_alone(tmp_path: Path) -> None:
    bomb = zlib.compress(b"BT /F1 11 Tf (x) Tj ET " * 20_000_000, 9)
    path = write_file(tmp_path / "a.pdf", make_pdf(["One", bomb, "Three"]))
    items = parse_files(path)
    assert records(items)[0]["chunk_text"] == "One\n\nThree"
    (error,) = error_messages(items, tmp_path)
    assert error.startswith("a.pdf: page 2 can't be read: ")


def encrypted() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf(["Secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.pdf", b"no PDF", "a.pdf: can't be read (any further): "),
        ("a.pdf", b"", "a.pdf: can't be read (any further): "),
        ("a.pdf", make_pdf(["One"])[:200], "a.pdf: can't be read (any further): "),
        ("a.pdf", make_pdf(["", ""]), "a.pdf: has no text; if its pages are images, recognize"),
        ("a.pdf", encrypted(), "a.pdf: is encrypted: save it without a password first"),
        ("a.pdf", make_pdf(["x"] * 5001), "a.pdf: has 5,001 pages, and at most 5,000 are read"),
        ("a.html", b"<script>x</script>", "a.html: has no text"),
        ("a.html", b"\0" * 100, "a.html: has no text"),
    ],
    ids=["no-pdf", "empty", "cut", "no-text", "encrypted", "pages", "script", "nul"],
)
def test_broken_document_is_one_error(
    tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    path = write_file(tmp_path / name, data)
    other = write_file(tmp_path / "other.html", "<p>Other")
    items = parse_files(path, other)
    assert [record["chunk_text"] for record in records(items)] == ["Other"]
    (error,) = error_messages(items, tmp_path)
    assert error.startswith(sentence)


def test_document_that_takes_too_long_is_one_error() -> None:
    (error,) = parse_bytes(b"<div>" * 200_000, "html", 0.2)
    assert str(error) == "f: can't be read (any further): it takes too much time or memory"


def test_too_large_document_is_one_error() -> None:
    (error,) = parse_bytes(b" " * (documents.MAX_BYTES["html"] + 1), "html", 1)
    assert str(error) == "f: has more than 20,000,000 bytes: split it first"


def test_deep_html_needs_no_stack() -> None:
    (record,) = parse_bytes(b"<i>" * 3000 + b"x", "html", 20)
    assert "x" in str(record)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(documents.PARSERS, "pdf", "a_package_that_is_not_there")
    path = write_file(tmp_path / "a.pdf", make_pdf(["One"]))
    (error,) = error_messages(parse_files(path), tmp_path)
    assert error == (
        "a.pdf: is a PDF, which needs another package: pip install 'cascade-search[documents]'"
    )
    with pytest.raises(CommandFailed, match=r"pip install 'cascade-search\[documents\]'"):
        find_inputs([str(tmp_path)], None)
    write_file(tmp_path / "b.md", "x")
    assert find_inputs([str(tmp_path)], None).skipped["PDF or HTML"] == 1


def test_resume_at_any_passage_of_a_document() -> None:
    data = make_pdf([LINES, LINES])
    options = ParseOptions(RULES)

    def parse(after: Position) -> list[Item]:
        return list(parse_input(io.BytesIO(data), Input("f", "f", None, "pdf"), options, after))

    whole = parse(START)
    assert len(whole) > 2
    for number, item in enumerate(whole):
        assert parse(item.after) == whole[number + 1 :]
