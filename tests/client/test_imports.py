"""Imports: uploads, results and progress."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.client import (
    AsyncSearchClient,
    ConnectionFailed,
    ImportFailed,
    InvalidArgument,
    Job,
    NotFound,
    Overloaded,
    TooLarge,
)
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, scripted_server

ACCEPTED = answer(202, {"id": "a1", "status": "queued", "written": 0, "failed": 0, "errors": []})


def records(count: int) -> Iterator[dict[str, Any]]:
    return ({"_id": f"i{n}", "chunk_text": f"imported record {n}", "n": n} for n in range(count))


@pytest.fixture
def space(client: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    own = {"namespace": f"imports-{abs(hash(request.node.name))}"}
    yield own
    client.delete(all=True, **own)


def test_import_runs_in_background(client: Any, space: dict[str, str]) -> None:
    job = client.import_file(records(500), name="five hundred", **space)
    assert job.name == "five hundred"
    moments: list[Job] = []
    done = client.wait_for_import(job.id, on_progress=moments.append)
    assert (done.status, done.written, done.failed, done.progress) == ("succeeded", 500, 0, 1.0)
    assert moments[-1] == done
    assert [each.revision for each in moments] == sorted({each.revision or 0 for each in moments})
    assert client.get_import(job.id) == done
    assert len(set(client.iter_ids(**space))) == 500
    newest = client.list_imports(limit=1, status="succeeded")
    assert newest.imports[0].id == job.id
    assert client.cancel_import(job.id).status == "succeeded"
    assert [each.status for each in client.watch_import(job.id)] == ["succeeded"]


def test_import_gzip_file_with_options(client: Any, space: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "people.csv.gz"
    path.write_bytes(gzip.compress(b"mail;bio;age\na@b;Ann bakes;30\nb@c;;x\n"))
    job = client.import_file(
        path, id_column="mail", text_field="bio", delimiter=";", strings=True, **space
    )
    done = client.wait_for_import(job.id)
    assert (done.written, done.failed, done.format, done.name) == (1, 1, "csv", path.name)
    assert done.errors[0].line == 3
    assert client.get("a@b", **space)["age"] == "30"


def test_failed_import_has_reason(client: Any, space: dict[str, str]) -> None:
    job = client.import_file(io.BytesIO(b"no json\n"), format="ndjson", on_error="stop", **space)
    with pytest.raises(ImportFailed, match=job.id) as caught:
        client.wait_for_import(job.id)
    assert caught.value.job.status == "failed"
    assert caught.value.job.errors[0].line == 1


def test_import_can_be_cancelled(client: Any, space: dict[str, str]) -> None:
    job = client.import_file(records(30_000), **space)
    assert client.cancel_import(job.id).status == "cancelled"
    with pytest.raises(ImportFailed, match="cancelled") as caught:
        client.wait_for_import(job.id)
    assert caught.value.job.written < 30_000


def test_wait_for_unknown_import_raises_not_found(client: Any) -> None:
    with pytest.raises(NotFound):
        client.wait_for_import("0" * 32)
    with pytest.raises(InvalidArgument):
        client.get_import("../records")


def test_import_streams_records_from_generator(make: Make) -> None:
    with scripted_server(ACCEPTED) as server:

        def made() -> Iterator[dict[str, Any]]:
            yield from records(4_000)
            assert server.first_chunk_received.wait(60)
            yield from records(5_000)

        assert make(server.url).import_file(made(), namespace="n", flatten=True).status == "queued"
        (request,) = server.requests
    assert request.target == "/api/imports?namespace=n&flatten=true&format=ndjson"
    assert request.headers["transfer-encoding"] == "chunked"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in request.body.splitlines()] == [
        *records(4_000),
        *records(5_000),
    ]


@pytest.mark.parametrize("kind", ["path", "name", "file", "bytes"])
def test_import_sends_file_unchanged(make: Make, tmp_path: Path, kind: str) -> None:
    packed = gzip.compress(b'{"_id": "a", "chunk_text": "x"}\n' * 9_000, 0)
    path = tmp_path / "some.jsonl.gz"
    path.write_bytes(packed)
    with scripted_server(ACCEPTED) as server, path.open("rb") as file:
        pieces = (packed[at : at + 7_000] for at in range(0, len(packed), 7_000))
        source = {"path": path, "name": str(path), "file": file, "bytes": pieces}[kind]
        make(server.url).import_file(source)
        (request,) = server.requests
        assert not file.closed
    assert request.body == packed
    assert "content-encoding" not in request.headers
    assert ("content-length" in request.headers) == (kind in {"path", "name"})
    assert ("name=some.jsonl.gz" in request.target) == (kind != "bytes")


async def test_import_accepts_async_generator() -> None:
    async def made() -> AsyncIterator[dict[str, Any]]:
        for record in records(3):
            yield record

    with scripted_server(ACCEPTED) as server:
        async with AsyncSearchClient(server.url) as client:
            await client.import_file(made())
    assert [json.loads(line)["n"] for line in server.requests[0].body.splitlines()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(b"", "reset"), ConnectionFailed),
        (answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="0"), Overloaded),
        (answer(413, {"detail": "Too large", "code": "body_too_large"}, "close"), TooLarge),
    ],
)
def test_import_is_never_started_twice(make: Make, reply: Reply, kind: type[Exception]) -> None:
    with scripted_server(reply) as server:
        with pytest.raises(kind):
            make(server.url).import_file(records(3))
        assert len(server.requests) == 1


def test_import_may_be_rejected_before_upload_ends(make: Make) -> None:
    with scripted_server(
        answer(413, {"detail": "Too large", "code": "body_too_large"}, "linger")
    ) as server:
        server.reads_bodies = False
        with pytest.raises(TooLarge):
            make(server.url).import_file(records(200_000))


def test_import_raises_error_of_generator_unchanged(make: Make) -> None:
    def made() -> Iterator[dict[str, Any]]:
        yield {"_id": "a"}
        raise ZeroDivisionError

    with scripted_server(ACCEPTED) as server:
        with pytest.raises(ZeroDivisionError):
            make(server.url).import_file(made())
        assert not [each for each in server.requests if each.whole]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"bytes", "give a path"),
        ({"_id": "a"}, "give a path"),
        (7, "give a path"),
        ([7], "a record must be a dict"),
        (io.StringIO("text"), "give format="),
        (io.BytesIO(b"x"), "give format="),
    ],
)
def test_import_rejects_invalid_source_before_sending(
    make: Make, source: Any, sentence: str
) -> None:
    with scripted_server(ACCEPTED) as server:
        with pytest.raises(InvalidArgument, match=sentence):
            make(server.url).import_file(source)


def test_import_rejects_text_mode_file(make: Make) -> None:
    with scripted_server(ACCEPTED) as server:
        with pytest.raises(InvalidArgument, match="mode 'rb'"):
            make(server.url).import_file(io.StringIO("text"), format="csv")


def test_import_rejects_unknown_format_before_sending(make: Make) -> None:
    with scripted_server(ACCEPTED) as server:
        with pytest.raises(InvalidArgument, match="ndjson, csv, tsv"):
            make(server.url).import_file([{"_id": "a"}], format="xml")


def test_import_missing_file_raises_file_not_found(make: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make("http://127.0.0.1:9").import_file(tmp_path / "none.csv")
