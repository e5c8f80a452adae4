"""The text of a record: several fields joined, or a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.ingest.text_source import fill_template, parse_template
from tests.ingest.parsing import error_messages, parse_files, records, write_file

BOOKS = (
    '{"id": 1, "title": "Tea", "body": "Boil water.", "year": 2024, "tags": ["a", "b"]}\n'
    '{"id": 2, "title": "Milk"}\n'
    '{"id": 3, "body": " ", "year": 2025}\n'
)


def test_text_fields_are_joined_with_blank_lines_and_kept(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", BOOKS)
    items = parse_files(path, text_column="title, body")
    assert records(items) == [
        {"_id": "1", "title": "Tea", "body": "Boil water.", "year": 2024, "tags": ["a", "b"]}
        | {"chunk_text": "Tea\n\nBoil water."},
        {"_id": "2", "title": "Milk", "chunk_text": "Milk"},
    ]
    assert error_messages(items, tmp_path) == [
        "a.jsonl line 3: has no text: 'title' or 'body' must be a text "
        "(--text-field names another field)"
    ]


def test_template_has_values_of_every_kind(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", BOOKS)
    texts = records(parse_files(path, text_template="{title} {{{year}}}: {tags}. {body}"))
    assert [record["chunk_text"] for record in texts] == [
        "Tea {2024}: a, b. Boil water.",
        "Milk {}: .",
        "{2025}: .",
    ]
    assert texts[0]["year"] == 2024


def test_columns_of_csv_are_joined_and_keep_their_types(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", "key,title,year\n007,Tea,2024\n")
    expected = {"_id": "007", "title": "Tea", "year": 2024}
    found = records(parse_files(path, text_template="{title} of {year}", id_column="key"))
    assert found == [expected | {"chunk_text": "Tea of 2024"}]
    found = records(parse_files(path, text_column="title,year", id_column="key"))
    assert found == [expected | {"chunk_text": "Tea\n\n2024"}]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"text_column": "title,boddy"}, "--text-field"),
        ({"text_template": "{boddy}"}, "--text-template"),
    ]
    for rules, option in wrong:
        (error,) = error_messages(parse_files(path, **rules), tmp_path)
        assert "has no column 'boddy'" in error
        assert f"give another {option}" in error


def test_field_whose_name_has_a_comma_is_one_field(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", '"city, state",n\n"Austin, Texas",1\n')
    (record,) = records(parse_files(path, text_column="city, state"))
    assert record["chunk_text"] == "Austin, Texas"
    assert record.keys() == {"_id", "n", "chunk_text"}


def test_generated_id_depends_on_the_fields_of_the_text(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", '{"a": "x", "b": "y"}\n{"a": "x", "b": "z"}\n')
    ids = [
        [record["_id"] for record in records(parse_files(path, text_column="a,b"))]
        for _ in range(2)
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize("template", ["", "no field", "{", "}", "{}", "{a", "{a[0}", "{{a}}"])
def test_invalid_template_is_rejected(template: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_template(template)


@pytest.mark.parametrize("name", ["a.b", "a[0]", "0", "a:b", "a!r", "a!r:b", "a b", "é"])
def test_template_takes_names_literally(name: str) -> None:
    assert fill_template(f"<{{{name}}}>", {name: "x"}) == "<x>"
