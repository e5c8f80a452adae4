"""`load`: its output, and its requests to a service."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.fake_service import KEY, ScriptedResponse, fake_service, write_jsonl


def test_load_is_idempotent(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"chunk_text": "One record"}\n{"chunk_text": "Another record"}\n')
    for _ in range(2):
        assert command("load", path, DATA_DIR=tmp_path).returncode == 0
    answer = command("search", "record", "--json", DATA_DIR=tmp_path)
    assert len(json.loads(answer.stdout)["results"]) == 2


def test_load_reports_invalid_records_and_loads_the_others(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"chunk_text": "One record"}\n' + "no\n" * 25 + '{"chunk_text": "record"}\n')
    done = command("load", path, DATA_DIR=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"{path} line 2: is not JSON: Expecting value at character 1"
    assert (len(lines), lines[-1]) == (4, "and 22 more; --errors FILE writes all of them")
    assert done.stdout.startswith("loaded 2 records in")
    assert done.stdout.endswith("25 failed\n")
    every = tmp_path / "errors.txt"
    logged = command("load", path, "--errors", every, DATA_DIR=tmp_path)
    assert logged.stderr.splitlines()[-1] == f"and 22 more; all of them are in {every}"
    assert [line.split()[2] for line in every.read_text().splitlines()] == [
        f"{number}:" for number in range(2, 27)
    ]
    stopped = command("load", path, "--stop-on-error", DATA_DIR=tmp_path)
    assert stopped.returncode == 1
    assert stopped.stderr.splitlines()[-1] == (
        "cascade: stopped at the first error, as --stop-on-error says"
    )


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        ("", [], "cascade: the files have no records: nothing was loaded"),
        ("", ["--url", "ftp://x"], "cascade: --url must be an address such as http://"),
        ("", ["--url", "http://me:secret@h"], "cascade: --url must not hold a password"),
        ("", ["--url", "http://127.0.0.1:1"], "cascade: Nothing answers at http://127.0.0.1:1"),
        ("", ["-", "--resume"], "cascade: --resume needs files"),
    ],
)
def test_load_prints_a_fatal_error_in_one_line(
    command: Command, tmp_path: Path, content: str, arguments: list[str], sentence: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    done = command("load", path, *arguments, DATA_DIR=tmp_path / "var")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(sentence)
    assert "secret" not in line


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--batch-size", "0"], ["x", "--delimiter", "ab"], ["x", "--nope"]]
)
def test_load_exits_with_2_on_wrong_usage(command: Command, arguments: list[str]) -> None:
    done = command("load", *arguments)
    assert done.returncode == 2
    assert "usage: cascade" in done.stderr


def test_load_resume_restarts_a_changed_file(command: Command, tmp_path: Path) -> None:
    path, state = write_jsonl(tmp_path / "a.jsonl", 5), tmp_path / "state.json"
    with fake_service(
        ScriptedResponse(200), ScriptedResponse(403, {"detail": "No more"})
    ) as service:
        arguments = ["load", path, "--url", service.address, "--batch-size", "1"]
        arguments += ["--concurrency", "1", "--state", state]
        assert command(*arguments).returncode == 1
        assert json.loads(state.read_text())["position"] == 1
        with path.open("a") as file:
            file.write('{"_id": "r5", "chunk_text": "x"}\n')
        done = command(*arguments, "--resume")
    assert "starting from the beginning" in done.stderr
    assert done.stdout.startswith("loaded 6 records")
    assert len(service.records) == 6


def test_load_over_http_retries_and_reports_failed_records(
    command: Command, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 10)
    busy = ScriptedResponse(429, {"detail": "Slow down"}, {"Retry-After": "0"})
    down = ScriptedResponse(503, b"<html>", {"Retry-After": "0"})
    with fake_service(busy, down, ScriptedResponse(200, fail=(3,)), key=KEY) as service:
        done = command(
            "load", path, "--url", f"{service.address}/", "--namespace", "people",
            SERVICE_API_KEY=KEY, DATA_DIR=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"{path} line 4: 'r3': it is not to be\n"
    assert sorted(service.records) == sorted(f"r{n}" for n in range(10) if n != 3)
    assert {path for path, _, _ in service.requests} == {"/api/records"}
    assert service.requests[0][1] == {"namespace": ["people"]}


def test_load_over_http_splits_a_batch_that_is_too_large(command: Command, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 4)
    with fake_service(ScriptedResponse(413, {"detail": "Too large"})) as service:
        assert command("load", path, "--url", service.address, DATA_DIR=tmp_path).returncode == 0
    assert [len(body) for _, _, body in service.requests] == [4, 2, 2]


@pytest.mark.parametrize(
    ("script", "key", "sentence"),
    [
        ([], "wrong-key-of-16-letters", "[secret] is no key of this service (SERVICE_API_KEY: set"),
        ([], "", "is no key of this service (SERVICE_API_KEY: it is not set)"),
        (
            [ScriptedResponse(404, {})],
            KEY,
            "has no /api/records: is it a Cascade, and a recent one?",
        ),
        ([ScriptedResponse(200, {"written": "x"})], KEY, "answers what this command can't read"),
        ([ScriptedResponse(200, b"<html>")], KEY, "did not answer with JSON: is it a Cascade?"),
        ([ScriptedResponse(400, {"detail": "Not so"})], KEY, "Not so"),
        ([ScriptedResponse(418, b"teapot")], KEY, "answers with status 418"),
    ],
)
def test_load_over_http_prints_an_error_response_in_one_line(
    command: Command, tmp_path: Path, script: list[ScriptedResponse], key: str, sentence: str
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 2)
    with fake_service(*script, key=KEY) as service:
        done = command(
            "load", path, "--url", service.address, SERVICE_API_KEY=key, DATA_DIR=tmp_path
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert sentence in line
    if key:
        assert key not in done.stderr


def test_load_resume_finishes_after_the_last_acknowledgement(
    command: Command, tmp_path: Path
) -> None:
    """The load was killed between the last acknowledgement and its end."""
    path, state = write_jsonl(tmp_path / "a.jsonl", 3), tmp_path / "state.json"
    with fake_service(ScriptedResponse(200), ScriptedResponse(403, {"detail": "No"})) as service:
        arguments = ["load", path, "--url", service.address, "--state", state]
        arguments += ["--batch-size", "2", "--concurrency", "1"]
        assert command(*arguments).returncode == 1
        mark = json.loads(state.read_text())
        state.write_text(json.dumps(mark | {"position": 3, "written": 3}))
        done = command(*arguments, "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match("loaded 0 records in .*, after 3 before", done.stdout)
    assert not state.exists()
