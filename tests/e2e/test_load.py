"""`load` as a process."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import run, started
from tests.e2e.process import environment as pinecone
from tests.e2e.process import serving_offline
from tests.fake_service import KEY, fake_service, write_jsonl
from tests.upstream import API_KEY, Upstream


def found(data_dir: Path, question: str = "record", **options: Any) -> list[dict[str, Any]]:
    done = run("search", question, "--json", "--top-k", "10000", "--fields", "*", DATA_DIR=data_dir)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return results


def test_loaded_records_are_found(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "bread.md").write_text("# Bread\n\nKeep a loaf in a cloth bag.\n")
    table = tmp_path / "people.csv"
    table.write_text("email,bio,age\na@b.c,She restores violins,41\n")
    data = tmp_path / "var"
    loaded = run("load", texts, DATA_DIR=data)
    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert re.fullmatch(r"loaded 1 record in \d+\.\d s \([\d,]+/s\): 1 new.*\n", loaded.stdout)
    run("load", table, "--text-field", "bio", "--id-column", "email", DATA_DIR=data)
    run("load", "-", stdin=b'{"chunk_text": "From a pipe"}\n', DATA_DIR=data)
    results = found(data, "violins bread pipe")
    assert {result["chunk_text"] for result in results} == {
        "Bread\n\nKeep a loaf in a cloth bag.",
        "She restores violins",
        "From a pipe",
    }
    violins = next(result for result in results if result["_id"] == "a@b.c")
    assert violins["age"] == 41
    assert not list((data / "loads").iterdir())


def test_load_into_an_owned_directory_suggests_url(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 3)
    with serving_offline(tmp_path / "var") as (process, _):
        done = run("load", path, DATA_DIR=tmp_path / "var")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"belongs to process {process.pid}" in line
    assert "--url http://127.0.0.1:8000" in line


def test_load_killed_and_resumed_has_every_record_once(tmp_path: Path) -> None:
    """Each kill follows when the state file shows a certain count of acknowledged records."""
    count, kills = 3000, [100, 700]
    path, state = write_jsonl(tmp_path / "a.jsonl", count), tmp_path / "state.json"
    arguments = ["load", path, "--resume", "--state", state, "--batch-size", "10"]
    position = 0
    for kill in kills:
        with started(*arguments, DATA_DIR=tmp_path / "var") as process:
            while process.poll() is None and position < kill:
                if state.exists():
                    position = json.loads(state.read_text())["position"]
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL, "the load ended before the signal"
    done = run(*arguments, DATA_DIR=tmp_path / "var")
    assert done.returncode == 0, done.stderr
    loaded, before = re.findall(r"loaded ([\d,]+) records .* after ([\d,]+) before", done.stdout)[0]
    assert int(before.replace(",", "")) >= kills[-1]
    assert int(before.replace(",", "")) + int(loaded.replace(",", "")) == count
    assert sorted(result["n"] for result in found(tmp_path / "var")) == list(range(count))
    assert not state.exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_load_stops_on_a_signal_and_resumes(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 1000)
    with fake_service() as service:
        service.may_answer.clear()
        arguments = ["load", path, "--url", service.address, "--batch-size", "10"]
        with started(*arguments, DATA_DIR=tmp_path) as process:
            service.wait_for_requests(4)
            process.send_signal(number)
            service.may_answer.set()
            out, err = process.communicate(timeout=60)
        assert process.returncode == status
        assert re.fullmatch(r"loaded 40 records in .*, interrupted; --resume goes on\n", out)
        assert err == ""
        assert len(service.requests) == 4
        done = run(*arguments, "--resume", DATA_DIR=tmp_path)
    assert re.match(r"loaded 960 records in .*, after 40 before", done.stdout)
    assert len(service.records) == 1000


def test_load_stops_on_a_signal_while_it_reads_a_pipe(tmp_path: Path) -> None:
    with fake_service() as service:
        with started(
            "load", "-", "--url", service.address, "--batch-size", "1", stdin=subprocess.PIPE
        ) as process:
            assert process.stdin
            process.stdin.write('{"chunk_text": "x"}\n')
            process.stdin.flush()
            service.wait_for_requests(1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
            assert process.stdout
            assert process.stdout.read().startswith("loaded 1 record in")


def test_load_progress_redraws_a_line_on_a_terminal(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 30)
    leader, follower = pty.openpty()
    shown = b""
    with fake_service() as service:
        service.may_answer.clear()
        arguments = ["load", path, "--url", service.address, "--batch-size", "10"]
        with started(*arguments, stderr=follower, DATA_DIR=tmp_path, TERM="xterm") as process:
            os.close(follower)
            while b"0 records" not in shown:
                shown += os.read(leader, 4096)
            service.may_answer.set()
            assert process.wait(60) == 0
    shown += os.read(leader, 65536)
    os.close(leader)
    assert b"[####################] 100%  0 records  0/s" in shown
    assert shown.endswith(b"\r\x1b[K")


def test_load_through_a_running_service_with_its_key(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 300)
    with path.open("a") as file:
        file.write('{"_id": "é", "chunk_text": "an id that is no ASCII"}\n')
    data = tmp_path / "var"
    with serving_offline(data, SERVICE_API_KEYS=KEY, LOAD_SAMPLES="false") as (_, address):
        refused = run("load", path, "--url", address, DATA_DIR=data)
        assert refused.returncode == 1
        assert "(SERVICE_API_KEY: it is not set)" in refused.stderr
        reached = ["--url", address, "--namespace", "other"]
        done = run("load", path, *reached, DATA_DIR=data, SERVICE_API_KEY=KEY)
        assert done.returncode == 1
        assert done.stdout.startswith("loaded 300 records")
        assert f"{path} line 301: 'é': _id: must be a text of 1 to 512 ASCII" in done.stderr
        seen = run("search", "number 7", "--json", *reached, SERVICE_API_KEY=KEY)
        assert json.loads(seen.stdout)["results"][0]["_id"].startswith("r")


@pytest.mark.parametrize("poison", [None, "r7"])
def test_load_into_pinecone_without_a_service(
    upstream: Upstream, tmp_path: Path, poison: str | None
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", 200)
    upstream.records.poison = {poison} if poison else set()
    where: dict[str, Any] = {**pinecone(upstream, DATA_DIR=tmp_path)}
    done = run("load", path, "--namespace", "people", **where)
    count = 199 if poison else 200
    assert done.returncode == (1 if poison else 0)
    assert done.stdout.startswith(f"loaded {count} records")
    for index in ("dense", "sparse"):
        assert len(upstream.records.of(index, "people")) == count
    if poison:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{path} line 8: 'r7': ")
        assert API_KEY not in line
