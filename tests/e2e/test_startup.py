"""What the service logs when it starts, and the options of `serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import service
from tests.e2e.process import Process, environment, serving, serving_offline
from tests.upstream import Upstream

KEYS = "the-first-of-the-keys,the-second-of-the-keys"


def lines(process: Process, logger: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in process.log().splitlines()]
    return [entry for entry in entries if entry["logger"] == logger]


def test_start_logs_data_namespace_and_keys_of_the_embedded_engine(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (process, _):
        (line,) = lines(process, "service.startup")
        assert "WARNING" not in process.log()
    assert line["message"] == (
        f"Cascade {service.__version__}: the embedded engine in {tmp_path} with 360 records, 360 "
        "of them in the namespace __default__; no API keys, so only this machine may write"
    )
    assert line["records"] == {"dense": 360, "sparse": 360}


def test_start_logs_an_empty_index(tmp_path: Path) -> None:
    with serving_offline(tmp_path, LOAD_SAMPLES="false") as (process, _):
        (line,) = lines(process, "service.startup")
    assert f"the embedded engine in {tmp_path} with no records;" in line["message"]


def test_start_logs_hosts_and_number_of_keys_once_for_all_workers(upstream: Upstream) -> None:
    with serving(upstream, WEB_CONCURRENCY=3, SERVICE_API_KEYS=KEYS) as (process, _):
        (line,) = lines(process, "service.startup")
        assert "of-the-keys" not in process.log()
    for host in (upstream.host("dense"), upstream.host("sparse")):
        assert host in line["message"]
    assert line["message"].endswith("; 2 API keys")


def test_start_warns_once_of_a_misspelled_setting(upstream: Upstream) -> None:
    with serving(upstream, WEB_CONCURRENCY=2, PINECONE_TOPK=3) as (process, _):
        (line,) = lines(process, "service.cli")
    assert line["level"] == "WARNING"
    assert line["message"] == (
        "PINECONE_TOPK is not a setting, and is ignored; did you mean PINECONE_TOP_K?"
    )


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [
        ("0.0.0.0", "", True),
        ("::", "", True),
        ("0.0.0.0", KEYS, False),
        ("127.0.0.2", "", False),
        ("localhost", "", False),
    ],
)
def test_start_warns_of_an_open_address_without_keys(
    tmp_path: Path, host: str, keys: str, warned: bool
) -> None:
    with serving_offline(tmp_path, HOST=host, SERVICE_API_KEYS=keys) as (process, address):
        found = lines(process, "service.commands.serve")
    port = address.rpartition(":")[2]
    assert [line["message"] for line in found] == warned * [
        f"HOST is {host} and there are no API keys: anyone who can connect to port {port} can "
        "search and export every record. Set SERVICE_API_KEYS, or HOST=127.0.0.1"
    ]


def test_serve_options_take_precedence_over_the_environment(tmp_path: Path) -> None:
    wrong = {"HOST": "127.0.0.9", "PORT": "1", "DATA_DIR": "/nowhere", "LOAD_SAMPLES": "false"}
    options = ["--host", "127.0.0.2", "--port", "0", "--data-dir", str(tmp_path / "data")]
    process = Process(wrong, options)
    try:
        address = process.wait_until_serving()
        assert address.startswith("http://127.0.0.2:")
        assert httpx.get(f"{address}/readyz").status_code == 200
    finally:
        process.stop()
    assert (tmp_path / "data" / "records" / "records.db").exists()


def test_serve_options_reach_every_worker(upstream: Upstream) -> None:
    """Without a key, writes are open only if the workers know that HOST is loopback."""
    process = Process(
        environment(upstream, HOST="0.0.0.0"), ["--host", "127.0.0.1", "--workers", "2"]
    )
    try:
        address = process.wait_until_serving()
        assert len(process.children()) == 2
        record = {"_id": "a", "chunk_text": "bread"}
        for _ in range(8):
            assert httpx.post(f"{address}/api/records", json=record).status_code == 200
    finally:
        process.stop()
