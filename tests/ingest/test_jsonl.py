"""JSON Lines: records, and errors for invalid lines."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import CommandFailed
from service.ingest.inputs import find_inputs
from service.ingest.reading import MAX_LINE, ReadMeter, ReadStopped, open_input, read_lines
from service.ingest.record import Record, RecordError, RecordMapping
from tests.ingest.parsing import error_messages, parse_files, records, write_file


def test_jsonl_line_is_record_with_its_id(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.jsonl",
        '\ufeff{"_id": "7", "id": 7, "chunk_text": "One"}\r\n'
        "\r\n"
        '{"id": 17, "chunk_text": "Two", "tags": ["a"], "n": 1.5, "ok": true, "none": null}',
    )
    assert records(parse_files(path)) == [
        {"_id": "7", "chunk_text": "One"},
        {"_id": "17", "chunk_text": "Two", "tags": ["a"], "n": 1.5, "ok": True},
    ]


def test_fields_keep_their_order(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", '{"_id": "7", "chunk_text": "One", "b": 1, "a": 2}')
    (record,) = records(parse_files(path))
    assert list(record) == ["_id", "chunk_text", "b", "a"]


def test_generated_id_depends_on_content_not_key_order(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.jsonl",
        '{"chunk_text": "One", "n": 1}\n{"n": 1,  "chunk_text": "One"}\n{"chunk_text": "Two"}\n',
    )
    first, again, other = (record["_id"] for record in records(parse_files(path)))
    assert first == again != other
    assert re.fullmatch("[0-9a-f]{32}", first)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"a":', "is not JSON: Expecting value at character 6"),
        (b"[1]", "must be a JSON object, and is a list"),
        (b'"a"', "must be a JSON object, and is a text"),
        (b"7", "must be a JSON object, and is a number"),
        (b'{"chunk_text": "\xff"}', "is not valid UTF-8"),
        (b'{"chunk_text": "x", "chunk_text": "y"}', "has the field 'chunk_text' twice"),
        (b'{"chunk_text": "x", "a": {"b": 1, "b": 2}}', "has the field 'b' twice"),
        (b'{"chunk_text": "x", "n": NaN}', "holds NaN, which is no JSON number"),
        (b'{"chunk_text": "x", "n": 1e999}', "n: is too large for a number"),
        (b'{"chunk_text": "\\ud800"}', "holds half of a surrogate pair, which is no text"),
        (b'{"chunk_text": "x", "\\ud800": 1}', "holds half of a surrogate pair"),
        (b'{"chunk_text": "x", "n": 9223372036854775808}', "a whole number of more than 64 bits"),
        (b'{"chunk_text": "x", "n": ' + b"9" * 5000 + b"}", "holds a number of too many digits"),
        (b'{"chunk_text": "x", "a": {"b": 1}}', "a: is an object; --flatten makes fields with"),
        (b'{"chunk_text": "x", "a": [1]}', "a: must be a text, a number, true, false or a list"),
        (b'{"chunk_text": "x", "": 1}', "has a field without a name"),
        (b'{"chunk_text": "x", "a": ' + b"[" * 100_000, "is nested too deeply"),
        (b'{"text": "x"}', "has no text: 'chunk_text' must be a text (--text-field names another"),
        (b'{"chunk_text": " "}', "has no text"),
        (b'{"chunk_text": 5}', "has no text"),
        (b'{"_id": "", "chunk_text": "x"}', "_id: an id has 1 to 512 characters"),
        (b'{"_id": 1.5, "chunk_text": "x"}', "_id: an id is a text or a whole number"),
        (b'{"_id": "1", "id": 2, "chunk_text": "x"}', "has an _id and an id that differ"),
        (b'{"_id": true, "chunk_text": "x"}', "_id: an id is a text or a whole number"),
    ],
)
def test_invalid_line_is_reported_and_others_are_loaded(
    tmp_path: Path, line: bytes, sentence: str
) -> None:
    good = b'{"chunk_text": "good"}\n'
    path = write_file(tmp_path / "a.jsonl", good + line + b"\n" + good)
    items = parse_files(path, flatten=False)
    (error,) = error_messages(items, tmp_path)
    assert error.startswith("a.jsonl line 2: ")
    assert sentence in error
    assert len(records(items)) == 2


def test_flatten_turns_nested_objects_into_dotted_fields(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", '{"id": "1", "chunk_text": "x", "a": {"b": {"c": 1}}}')
    assert records(parse_files(path)) == [{"_id": "1", "chunk_text": "x", "a.b.c": 1}]
    deep = '{"a": ' * 900 + "1" + "}" * 900
    (error,) = error_messages(parse_files(write_file(tmp_path / "b.jsonl", deep)), tmp_path)
    assert "b.jsonl line 1: " in error


def test_flatten_keeps_other_lists_as_json_and_dates_as_text(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.jsonl",
        '{"id": "1", "chunk_text": "x", "at": "2024-05-01", "sizes": [1, 2.5],'
        ' "parts": [{"é": null}], "tags": ["a", 1], "none": {}}',
    )
    assert records(parse_files(path)) == [
        {"_id": "1", "chunk_text": "x", "at": "2024-05-01", "sizes": "[1,2.5]"}
        | {"parts": '[{"é":null}]', "tags": '["a",1]'}
    ]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ('"a": {"b": 1}, "a.b": 2', "has the field 'a.b' twice: as it is, and nested"),
        ('"a": [1e999]', "a: holds a number that is too large"),
        ('"a": [' + "[" * 100_000 + "]" * 100_000 + "]", "is nested too deeply"),
        ('"a": [{"b": "\\ud800"}]', "half of a surrogate pair"),
    ],
)
def test_flatten_never_replaces_or_invents_a_value(
    tmp_path: Path, members: str, sentence: str
) -> None:
    path = write_file(tmp_path / "a.jsonl", '{"chunk_text": "x", ' + members + "}")
    (error,) = error_messages(parse_files(path), tmp_path)
    assert sentence in error


def test_text_and_id_fields_are_configurable(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.jsonl",
        '{"body": "One", "key": "k1"}\n{"body": "Two", "chunk_text": "Two", "key": "k2"}\n'
        '{"body": "Three"}',
    )
    items = parse_files(path, text_column="body", id_column="key")
    assert records(items) == [{"_id": "k1", "chunk_text": "One"}]
    assert error_messages(items, tmp_path) == [
        "a.jsonl line 2: has both 'body' and 'chunk_text': which one is the text?",
        "a.jsonl line 3: has no id: 'key' is missing or empty",
    ]


def test_overlong_line_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"chunk_text": "before"}\n{"chunk_text": "')
        for _ in range(20):
            file.write(b"x" * MAX_LINE)
        file.write(b'"}\n{"chunk_text": "after"}\n')
    tracemalloc.start()
    items = parse_files(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record["chunk_text"] for record in records(items)] == ["before", "after"]
    assert error_messages(items, tmp_path) == ["a.jsonl line 2: is longer than 2,000,000 bytes"]
    assert peak < 5 * MAX_LINE


def test_object_over_several_lines_names_the_way_out(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.json", '{\n"chunk_text": "x"\n}\n')
    assert error_messages(parse_files(path), tmp_path)[0] == (
        "a.json line 1: is not JSON: Expecting property name enclosed in double quotes at character"
        " 2; if the object goes on in the next line, `jq -c .` writes each in one line"
    )


def test_gzip_is_detected_by_content(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"chunk_text": "x"}\n')
    for name in ("a.jsonl.gz", "b.jsonl"):
        assert len(records(parse_files(write_file(tmp_path / name, packed)))) == 1
    cut = gzip.compress(b'{"chunk_text": "x"}\n' * 50_000)[:-20]
    items = parse_files(write_file(tmp_path / "cut.jsonl.gz", cut))
    assert error_messages(items, tmp_path)[-1].startswith(
        "cut.jsonl.gz: can't be read (any further)"
    )
    assert len(records(items)) > 10_000
    (error,) = error_messages(parse_files(write_file(tmp_path / "no.jsonl.gz", b"plain")), tmp_path)
    assert "gzip" in error.lower()


@pytest.mark.parametrize("name", ["missing.jsonl", "a.docx", "\0"])
def test_invalid_file_is_rejected_before_reading(tmp_path: Path, name: str) -> None:
    if name == "a.docx":
        write_file(tmp_path / name, b"x")
    with pytest.raises(CommandFailed) as caught:
        find_inputs([str(tmp_path / name)], None)
    assert name.strip("\0") in caught.value.detail


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["_id", "id", "chunk_text", "a", ""]), VALUES))
def test_any_accepted_record_has_id_and_text(given: dict[str, Any]) -> None:
    item = RecordMapping("chunk_text").record("here", given)
    if isinstance(item, RecordError):
        assert item.reason
    else:
        assert isinstance(item, Record)
        assert 0 < len(item.fields["_id"]) <= 512
        assert item.fields["chunk_text"].strip()
        written_out = json.dumps(item.fields, ensure_ascii=False, allow_nan=False).encode()
        assert json.loads(written_out) == item.fields


def test_reading_gzip_stops_on_request(
    tmp_path: Path,
) -> None:
    path = write_file(tmp_path / "blank.gz", gzip.compress(b"\n" * 100_000))
    meter = ReadMeter()
    with open_input(path, meter) as stream:
        read = read_lines(stream)
        next(read)
        meter.stop()
        with pytest.raises(ReadStopped):
            next(read)
