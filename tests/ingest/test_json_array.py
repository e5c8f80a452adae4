"""JSON arrays: elements of any size and form, in bounded memory, from any position on."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest.formats import jsonl
from service.ingest.formats.json_array import InvalidArray, read_elements
from service.ingest.reading import CHUNK, MAX_LINE, START, Position
from service.ingest.record import Item, RecordMapping
from tests.ingest.parsing import error_messages, parse_files, records, write_file

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(['"', "\\", "]", "},{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class SlowStream(io.BytesIO):
    """Returns a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most)


def elements(data: bytes, most: int = CHUNK, after: Position = START) -> list[Any]:
    found = read_elements(SlowStream(data, most), after)
    return [None if raw is None else json.loads(raw) for _, raw in found]


@pytest.mark.parametrize("indent", [None, 2])
def test_array_is_read_whether_compact_or_pretty(tmp_path: Path, indent: int | None) -> None:
    content = [{"id": n, "chunk_text": f"[{n}], \\\\"} for n in range(3)]
    path = write_file(tmp_path / "a.json", "\ufeff \n" + json.dumps(content, indent=indent) + "\n")
    assert records(parse_files(path)) == [
        {"_id": str(n), "chunk_text": f"[{n}], \\\\"} for n in range(3)
    ]


def test_array_in_utf16_is_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.json", '[{"chunk_text": "é"}]'.encode("utf-16"))
    assert [record["chunk_text"] for record in records(parse_files(path))] == ["é"]


def test_invalid_element_is_reported_by_its_number(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.json",
        '[{"chunk_text": "a"},\n{"chunk_text": },{"chunk_text": "b"} {"chunk_text": "c"},\n'
        '[{"chunk_text": "d"}], "e", {"chunk_text": "\udcff"}, {"chunk_text": "f"},]'.encode(
            errors="surrogateescape"
        ),
    )
    items = parse_files(path)
    assert [record["chunk_text"] for record in records(items)] == ["a", "f"]
    assert [message[:24] for message in error_messages(items, tmp_path)] == [
        "a.json record 2: is not ",
        "a.json record 3: is not ",
        "a.json record 4: must be",
        "a.json record 5: must be",
        "a.json record 6: is not ",
    ]


@pytest.mark.parametrize(
    ("content", "loaded", "sentence"),
    [
        ('[{"chunk_text": "a"}, {"chunk_text": "b"}', 1, "ends before its JSON array does: `]` is"),
        ('[{"chunk_text": "a"}, {"chunk_te', 1, "is missing (after record 1)"),
        ("[", 0, "is missing (after record 0)"),
        ('[{"chunk_text": "a"}] {"chunk_text": "b"}', 1, "goes on after its JSON array"),
        ('[{"chunk_text": "a"}]' + " " * 100_000 + "x", 1, "goes on after its JSON array"),
    ],
)
def test_broken_array_is_reported_and_its_beginning_loaded(
    tmp_path: Path, content: str, loaded: int, sentence: str
) -> None:
    items = parse_files(write_file(tmp_path / "a.json", content))
    (error,) = error_messages(items, tmp_path)
    assert sentence in error
    assert len(records(items)) == loaded


@pytest.mark.parametrize("filling", [b"x", b"\\\\", b'\\"'])
def test_overlong_element_is_skipped_in_bounded_memory(filling: bytes) -> None:
    element = b'{"chunk_text": "' + filling * (20 * MAX_LINE // len(filling)) + b'"}'
    data = b'[{"n": 1},' + element + b',{"n": 2}]'
    stream = io.BytesIO(data)
    tracemalloc.start()
    found = list(read_elements(stream, START))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [raw for _, raw in found] == [b'{"n": 1}', None, b'{"n": 2}']
    assert found[-1][0] == Position(3, len(data) - 1)
    assert peak < 5 * MAX_LINE


@pytest.mark.parametrize("element", [b"[" * MAX_LINE + b"]" * MAX_LINE, b'["' * MAX_LINE])
def test_deep_nesting_and_open_quotes_are_read_in_linear_time(element: bytes) -> None:
    data = b'[{"n": 1},' + element
    found = read_elements(io.BytesIO(data), START)
    assert next(found)[1] == b'{"n": 1}'
    with pytest.raises(InvalidArray):
        next(found)


def test_array_on_a_pipe_is_read_as_it_arrives() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        os.write(writing, b'[{"n": 1}, ')
        found = read_elements(stream, START)
        assert next(found)[1] == b'{"n": 1}'
        os.write(writing, b"{}]")
        os.close(writing)
        assert [raw for _, raw in found] == [b" {}"]


@settings(deadline=None)
@given(st.lists(VALUES, max_size=8), st.integers(1, 30), st.sampled_from([None, 1]))
def test_any_array_is_read_however_it_is_cut(
    values: list[Any], most: int, indent: int | None
) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode(errors="replace")
    assert elements(data, most) == json.loads(data)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 30))
def test_any_bytes_end_in_elements_or_an_error(data: bytes, most: int) -> None:
    try:
        found = list(read_elements(SlowStream(b"[" + data, most), START))
    except InvalidArray:
        return
    assert b"".join(raw or b"" for _, raw in found)[:60] is not None


@settings(deadline=None)
@given(st.lists(st.sampled_from(['{"chunk_text": "x"}', "7", "{", '"', "[]", "  "]), max_size=8))
def test_resume_at_any_position_of_an_array(parts: list[str]) -> None:
    data = f"\ufeff [{','.join(parts)}] ".encode()

    def parse(after: Position) -> list[Item]:
        return list(jsonl.parse_array(io.BytesIO(data), "f", RecordMapping("chunk_text"), after))

    whole = parse(START)
    for number, item in enumerate(whole):
        if item.line is not None:
            assert parse(item.after) == whole[number + 1 :]
