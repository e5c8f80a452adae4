"""Workers answer each other; one that does not costs nothing but its own samples."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import Metric

from service.web.metrics.state import counters, gauge
from service.web.metrics.workers import (
    WorkerGroup,
    answering,
    ask_others,
    decode,
    encode,
    merge,
)

FAMILIES = [
    counters("requests", "Requests.", "status", {"200": 3, "é\n": 0.5}),
    gauge("in_use", "In use.", 7),
]


async def collect() -> Sequence[Metric]:
    return FAMILIES


def test_encoded_metrics_are_decoded_unchanged() -> None:
    assert decode(encode(FAMILIES)) == FAMILIES


def test_merged_metrics_have_one_family_per_name_and_a_worker_label() -> None:
    merged = merge({1: FAMILIES, 2: [gauge("in_use", "In use.", 8)]})
    assert [each.name for each in merged] == ["requests", "in_use"]
    assert [(each.labels, each.value) for each in merged[1].samples] == [
        ({"worker": "1"}, 7),
        ({"worker": "2"}, 8),
    ]
    assert merged[0].samples[0].labels == {"status": "200", "worker": "1"}


async def test_worker_answers_others(tmp_path: Path) -> None:
    async with answering(WorkerGroup(tmp_path, 2, 3), collect):
        assert await ask_others(WorkerGroup(tmp_path, 1, 3)) == {2: FAMILIES, 3: None}
    assert await ask_others(WorkerGroup(tmp_path, 1, 2)) == {2: None}
    assert not WorkerGroup(tmp_path, 2, 3).socket(2).exists()


async def test_worker_replaces_socket_of_one_that_was_killed(tmp_path: Path) -> None:
    killed = await asyncio.start_unix_server(lambda *_: None, tmp_path / "2.sock")
    killed.close()
    (tmp_path / "2.sock").touch()
    async with answering(WorkerGroup(tmp_path, 2, 2), collect):
        assert await ask_others(WorkerGroup(tmp_path, 1, 2)) == {2: FAMILIES}


async def test_worker_that_hangs_is_given_up(tmp_path: Path) -> None:
    async def hang() -> Sequence[Metric]:
        await asyncio.Event().wait()
        return FAMILIES

    async with answering(WorkerGroup(tmp_path, 2, 3), hang):
        assert await ask_others(WorkerGroup(tmp_path, 1, 2), timeout_s=0.05) == {2: None}


async def test_worker_that_cannot_listen_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = WorkerGroup(tmp_path / ("x" * 120), 2, 2)
    async with answering(group, collect):
        assert await ask_others(WorkerGroup(group.folder, 1, 2)) == {2: None}
    (record,) = caplog.records
    assert "/metrics" in record.getMessage()


async def test_answer_that_is_cut_off_is_no_answer(tmp_path: Path) -> None:
    async def cut_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(FAMILIES)[:-5])
        writer.close()

    async with await asyncio.start_unix_server(cut_off, tmp_path / "2.sock"):
        assert await ask_others(WorkerGroup(tmp_path, 1, 2)) == {2: None}
