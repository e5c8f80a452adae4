"""The delimiter and the encoding that are found in the beginning of a file."""

from __future__ import annotations

import codecs
import io

import pytest

from service.ingest.formats.encoding import detect_encoding, open_as_utf8
from service.ingest.formats.sniffing import decimal_comma_columns, sniff_delimiter
from service.ingest.record import InvalidRecord

TEXTS = {
    "windows-1252": [
        "Café",
        "20 °C",
        "£3",
        "naïve façade",
        "Ísafjörður þýðing",
        "‘a’ – “b”…",
        "5 €",
    ],
    "utf-8": ["plain", "Łódź", "Анна", "東京", "Zoë 😀"],
    "utf-16-le": ["an English text, long enough", "Müller fährt"],
}


@pytest.mark.parametrize(
    ("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts]
)
def test_detect_encoding(encoding: str, text: str) -> None:
    assert detect_encoding(f"id,text\n1,{text}\n".encode(encoding)) == encoding


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("windows-1251", "Анна пошла домой"),
        ("koi8-r", "Анна пошла домой"),
        ("iso-8859-7", "Καλημέρα κόσμε"),
        ("shift_jis", "花子は東京へ行った"),
        ("gb18030", "小明在北京"),
        ("euc-kr", "안녕하세요 세계"),
        ("iso-8859-2", "Wałęsa, Gdańsk, żółw"),
        ("cp850", "Müller, Düsseldorf, für"),
        ("mac_roman", "Renée, Besançon, déjà"),
    ],
)
def test_other_encodings_are_not_taken_for_windows_1252(encoding: str, text: str) -> None:
    assert detect_encoding(f"id,text\n1,{text}\n".encode(encoding)) == "utf-8"


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF8])
def test_byte_order_mark_is_believed(mark: bytes) -> None:
    encoding = detect_encoding(mark + b"whatever")
    assert mark.decode(encoding).strip("\ufeff") == ""


def test_character_at_the_cut_of_the_head_is_not_damage() -> None:
    assert detect_encoding("Zoë".encode()[:-1]) == "utf-8"


@pytest.mark.parametrize("head", [b"\0" * 100, bytes(range(256)) * 4, b"%PDF-1.7 text"])
def test_binary_file_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidRecord):
        detect_encoding(head)


def test_undecodable_characters_are_invalid_in_utf8() -> None:
    data = "one\n".encode("utf-16-le") + b"\x00\xd8" + "\ntwo\n".encode("utf-16-le") + b"x"
    lines = open_as_utf8(io.BytesIO(data), "utf-16-le", replace_cr=False).readlines()
    assert lines == [b"one\n", b"\xff\n", b"two\n", b"\xff"]


@pytest.mark.parametrize(
    ("table", "delimiter"),
    [
        ("id,text\n1,a\n", ","),
        ("text\none, two; three\nfour, five; six\n", ","),
        ("id;text\n1;a, b, c\n2;d, e, f\n", ";"),
        ("time;text\n10:30;at: home\n11:45;at: work\n", ";"),
        ("id|text|x\n1|a,b|c,d\n", "|"),
        ("id\ttext\n1\ta, b\n2\tc; d\n", "\t"),
        ('id;text\n1;"a;b;c"\n2;"d\ne"\n', ";"),
        ("name;price;text\na;1,5;x\nb;2,5;y\n", ";"),
        ("SEP=|\na;b|text\n", "|"),
        ("a, b, c;text\n1;2\n", ";"),  # the column that is wanted decides
        ("title;body,x;y\n1;2,3;4\n", ";"),
        ("", ","),
    ],
)
def test_sniff_delimiter(table: str, delimiter: str) -> None:
    assert sniff_delimiter(table.splitlines(keepends=True), ",", {"text", "_id", "id"}) == delimiter


def test_usual_delimiter_wins_a_tie() -> None:
    assert sniff_delimiter(["a\tb,c\n"], "\t", set()) == "\t"


def test_decimal_comma_columns() -> None:
    names = ["price", "code", "count", "text", "sum"]
    rows = [["1,5", "1,5", "1,234", "1,5", "1.234,50 €"], ["-20,25", "x", "5,678", "2,5", ""]]
    assert decimal_comma_columns(names, rows, {"text"}) == ["price", "sum"]
