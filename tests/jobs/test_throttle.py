"""An import makes room for searches, and reports its rate and the time that is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.jobs.state import RateMeter
from service.jobs.throttle import MAX_PAUSE_S, PAUSE_FACTOR, Throttle
from tests.clock import Clock
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import ndjson, running_jobs


@pytest.mark.parametrize(
    ("seconds", "requests", "took", "pause"),
    [
        (1.0, 0, 0.1, 0.0),
        (1.0, 2, 0.1, 0.0),  # a watcher of the progress
        (1.0, 50, 0.1, 0.1 * PAUSE_FACTOR),
        (0.2, 2, 0.1, 0.1 * PAUSE_FACTOR),
        (60.0, 6_000, 60.0, MAX_PAUSE_S),
    ],
)
def test_throttle_pauses_while_there_are_requests(
    seconds: float, requests: int, took: float, pause: float
) -> None:
    clock = Clock()
    count = 7
    throttle = Throttle(lambda: count, clock)
    clock.now += seconds
    count += requests
    assert throttle.pause_after(took) == pytest.approx(pause)
    clock.now += 1.0
    assert throttle.pause_after(took) == 0.0


async def test_throttled_import_sends_one_batch_at_a_time_and_ends(
    folder: Path,
) -> None:
    requests = 0

    def count() -> int:
        nonlocal requests
        requests += 1_000
        return requests

    target = FakeTarget()
    async with running_jobs(folder, None, target, request_count=count) as running:
        job = await running.run_to_end(ndjson(range(1_000)))
    assert (job.status, job.written) == ("succeeded", 1_000)
    assert target.most_in_flight <= 2  # those that were on their way before the first pause


def test_rate_meter_uses_last_seconds() -> None:
    clock = Clock()
    speed = RateMeter(clock)
    assert (speed.records_per_s, speed.eta_s(100)) == (0.0, None)
    for second in range(60):
        speed.add(second * (1 if second < 30 else 10), second * 1_000)
        clock.now += 1.0
    assert speed.records_per_s == pytest.approx(10.0)
    assert speed.eta_s(5_000) == pytest.approx(5.0)


async def test_running_import_has_rate_and_eta(folder: Path) -> None:
    target = FakeTarget()
    held = target.hold("4000")
    async with running_jobs(folder, None, target) as running:
        job = await running.send(ndjson(range(5_000)))
        async with asyncio.timeout(60):
            job = await running.wait_for(job.id, lambda job: job.written > 3_000)
        assert job.rate > 0
        assert job.eta_s is not None
        assert job.eta_s > 0
        assert job.progress is not None
        assert 0.5 < job.progress < 0.9
        held.set()
        job = await running.wait_until_ended(job.id)
        assert (job.progress, job.eta_s) == (1.0, None)
        assert job.rate > 0
