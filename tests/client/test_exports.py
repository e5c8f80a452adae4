"""Exports: parsing, truncation errors, and atomic files."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.client import Forbidden, IncompleteExport, InvalidArgument, NotConnected
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, chunked, scripted_server, unused_url

LINES = [b'{"_id": "r%d", "chunk_text": "%b"}\n' % (n, b"x" * (n % 50)) for n in range(300)]
BODY = b"".join(LINES)
NDJSON = {"content_type": "application/x-ndjson"}


def export(data: bytes, piece: int, **options: Any) -> Reply:
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    return chunked(*pieces, **(NDJSON | options))


CUT = export(BODY[:5_000], 1_000, end=False, after="close")
BROKEN = [
    pytest.param(CUT, id="cut off"),
    pytest.param(export(BODY[:5_000], 1_000, end=False, after="reset"), id="reset"),
    pytest.param(export(BODY[:-3], 1_000), id="ended in a line"),
    pytest.param(answer(200, BODY[:99], "close", content_length="9999"), id="too short"),
    pytest.param(
        export(gzip.compress(BODY)[:200], 90, content_encoding="gzip", end=False, after="close"),
        id="packed, cut off",
    ),
    pytest.param(export(b"no gzip", 90, content_encoding="gzip"), id="badly packed"),
]


@pytest.mark.parametrize("piece", [1, 7, 1_000, 100_000])
def test_export_parses_records_from_any_chunks(make: Make, piece: int) -> None:
    data = BODY if piece > 7 else BODY[:300]
    data = data[: data.rindex(b"\n") + 1]
    with scripted_server(export(data, piece)) as server:
        records = list(make(server.url).export())
    assert records == [json.loads(line) for line in data.splitlines()]


def test_export_sends_parameters(make: Make) -> None:
    packed = export(gzip.compress(BODY), 100, content_encoding="gzip")
    with scripted_server(packed) as server:
        filter = {"year": {"$gt": 1999}, "name": "ä&b"}
        given = {"namespace": "n", "filter": filter, "fields": ["a", "b"]}
        assert len(list(make(server.url).export(**given))) == 300
        (request,) = server.requests
    parameters = {
        name: value for name, (value,) in parse_qs(urlsplit(request.target).query).items()
    }
    assert json.loads(parameters.pop("filter")) == filter
    assert parameters == {"namespace": "n", "format": "ndjson", "fields": "a,b"}
    assert "gzip" in request.headers["accept-encoding"]


@pytest.mark.parametrize("reply", BROKEN)
def test_truncated_export_raises_and_is_not_retried(make: Make, reply: Reply) -> None:
    with scripted_server(reply) as server:
        with pytest.raises(IncompleteExport):
            list(make(server.url).export())
        assert len(server.requests) == 1


def test_truncated_export_yields_records_before_the_error(make: Make) -> None:
    whole = BODY[:5_000].count(b"\n")
    with scripted_server(CUT) as server:
        records = iter(make(server.url).export())
        assert [next(records) for _ in range(whole)] == list(map(json.loads, LINES[:whole]))
        with pytest.raises(IncompleteExport):
            next(records)


@pytest.mark.parametrize("reply", BROKEN)
def test_export_to_path_is_atomic(make: Make, tmp_path: Path, reply: Reply) -> None:
    path = tmp_path / "all.ndjson"
    path.write_text("as before")
    with scripted_server(reply, export(BODY, 1_000)) as server:
        client = make(server.url)
        with pytest.raises(IncompleteExport):
            client.export_to(path)
        assert path.read_text() == "as before"
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        assert client.export_to(str(path)) == len(BODY)
    assert path.read_bytes() == BODY
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_export_to_open_file_leaves_it_open(make: Make) -> None:
    csv = b"_id,chunk_text\r\na,x\r\n"
    with scripted_server(export(csv, 5, content_type="text/csv")) as server:
        file = io.BytesIO()
        client = make(server.url)
        assert client.export_to(file, format="csv", csv_formulas="escape") == len(csv)
        assert file.getvalue() == csv
        assert "format=csv&csv_formulas=escape" in server.requests[0].target


def test_empty_export_is_complete(make: Make, tmp_path: Path) -> None:
    with scripted_server(export(b"", 1), export(b"", 1)) as server:
        assert list(make(server.url).export()) == []
        assert make(server.url).export_to(tmp_path / "none") == 0
    assert (tmp_path / "none").read_bytes() == b""


def test_export_error_before_start_maps_to_exception(make: Make, tmp_path: Path) -> None:
    refusal = answer(403, {"detail": "Not you", "code": "x"})
    busy = answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="0")
    with scripted_server(refusal, busy, export(BODY, 1_000)) as server:
        with pytest.raises(Forbidden):
            make(server.url).export_to(tmp_path / "x")
        assert make(server.url).export_to(tmp_path / "x") == len(BODY)
    with pytest.raises(NotConnected):
        list(make(unused_url(), retries=0).export())
    with pytest.raises(FileNotFoundError):
        make(unused_url()).export_to(tmp_path / "no" / "folder")


def test_export_closed_early_closes_connection(make: Make) -> None:
    with scripted_server(export(BODY, 1_000, end=False, after="hold")) as server:
        client = make(server.url)
        with client.export() as records:
            assert next(iter(records)) == json.loads(LINES[0])
        assert list(records) == []


@pytest.fixture
def space(client: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    own = {"namespace": f"exports-{abs(hash(request.node.name))}"}
    yield own
    client.delete(all=True, **own)


def test_export_equals_upserted_records(client: Any, space: dict[str, str], tmp_path: Path) -> None:
    records = [{"_id": f"e{n}", "chunk_text": f"text {n}", "n": n} for n in range(700)]
    client.upsert(records, wait="visible", **space)
    by_id = {record["_id"]: record for record in client.export(**space)}
    assert by_id == {record["_id"]: record for record in records}
    few = client.export(filter={"n": {"$lt": 2}}, fields=["n"], **space)
    assert sorted(few, key=lambda record: record["n"]) == [
        {"_id": "e0", "n": 0},
        {"_id": "e1", "n": 1},
    ]
    path = tmp_path / "all.csv"
    assert client.export_to(path, format="csv", **space) == path.stat().st_size
    assert len(path.read_text().splitlines()) == 701
    again = tmp_path / "all.ndjson"
    client.export_to(again, **space)
    client.delete(all=True, wait="visible", **space)
    job = client.wait_for_import(client.import_file(again, **space).id)
    assert (job.written, job.failed) == (700, 0)


@pytest.mark.parametrize("fields", ["chunk_text", ["a,b"], [" a"]])
def test_export_rejects_ambiguous_fields(make: Make, fields: Any) -> None:
    with scripted_server(export(BODY, 1_000)) as server:
        with pytest.raises(InvalidArgument, match=r"fields must be a list|'(a,b| a)'"):
            list(make(server.url).export(fields=fields))
        assert server.requests == []
