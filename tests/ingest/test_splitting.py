"""`split`: records with long texts become passages, with positions that can be resumed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson

from service.ingest.inputs import Input
from service.ingest.parsing import ParseOptions, parse_input
from service.ingest.passages import MOST, size
from service.ingest.reading import START, Position
from service.ingest.record import Item, Record, RecordMapping
from tests.ingest.parsing import error_messages, parse_files, records, write_file

LONG = "\n\n".join(f"Paragraph {n} has " + "some words " * 50 + "in it." for n in range(40))


def write_lines(path: Path, *lines: dict[str, Any]) -> Path:
    return write_file(path, b"\n".join(map(orjson.dumps, lines)))


def test_long_text_without_split_names_the_option(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"id": "1", "chunk_text": LONG * 2})
    (error,) = error_messages(parse_files(path), tmp_path)
    assert "and a record has at most 40,960: --split splits it into passages" in error


def test_split_makes_a_record_of_each_passage(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"id": "1", "chunk_text": LONG, "year": 2024},
        {"id": "2", "chunk_text": "Short", "position": "goalkeeper"},
    )
    *found, short = records(parse_files(path, split=True))
    assert len(found) > 10
    for number, record in enumerate(found):
        assert record.items() >= {
            ("_id", f"1#{number}"),
            ("document_id", "1"),
            ("position", number),
            ("year", 2024),
        }
        assert size(record["chunk_text"]) <= MOST
    assert " ".join(record["chunk_text"] for record in found).split() == LONG.split()
    assert short == {
        "_id": "2#0",
        "document_id": "2",
        "position": "goalkeeper",
        "chunk_text": "Short",
    }


def test_split_does_not_repeat_a_long_part_in_each_passage(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"id": "1", "title": "Tea", "body": LONG})
    found = records(parse_files(path, split=True, text_column="title,body"))
    assert found[0]["chunk_text"].startswith("Tea\n\nParagraph 0")
    assert found[-1].keys() == {"_id", "document_id", "position", "title", "chunk_text"}


def test_split_rejects_an_id_without_space_for_the_number(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"id": "x" * 511, "chunk_text": "Short"})
    (error,) = error_messages(parse_files(path, split=True), tmp_path)
    assert error.startswith("a.jsonl line 1: has an id that is too long to split: xxx")


def test_resume_at_any_passage_yields_the_others() -> None:
    lines = [{"id": str(n), "chunk_text": LONG[: 4000 * n] or "x"} for n in range(3)]
    data = b"\n\n".join([orjson.dumps(lines[0]), b"{", *map(orjson.dumps, lines[1:])])
    options = ParseOptions(RecordMapping("chunk_text", split=True))

    def parse(after: Position) -> list[Item]:
        stream = io.BufferedReader(io.BytesIO(data))
        return list(parse_input(stream, Input("f", "f", None, "jsonl"), options, after))

    whole = parse(START)
    assert sum(isinstance(item, Record) for item in whole) > 8
    for number, item in enumerate(whole):
        assert parse(item.after) == whole[number + 1 :]
    assert whole[-1].after == Position(7, len(data))


def test_resume_at_any_passage_of_a_text_file() -> None:
    options = ParseOptions(RecordMapping("chunk_text"))

    def parse(after: Position) -> list[Item]:
        stream = io.BufferedReader(io.BytesIO(LONG.encode()))
        return list(parse_input(stream, Input("f", "f", None, "text"), options, after))

    whole = parse(START)
    for number, item in enumerate(whole):
        assert parse(item.after) == whole[number + 1 :]
