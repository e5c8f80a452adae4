"""An import makes room while the service is asked, knows its speed, and says how long it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.jobs.pace import LONGEST_S, REST, Pace
from service.jobs.speed import Speed
from tests.clock import Clock
from tests.ingest.shelf import Shelf
from tests.jobs.running import ndjson, running


@pytest.mark.parametrize(
    ("seconds", "requests", "took", "rest"),
    [
        (1.0, 0, 0.1, 0.0),
        (1.0, 2, 0.1, 0.0),  # somebody who looks at the progress
        (1.0, 50, 0.1, 0.1 * REST),
        (0.2, 2, 0.1, 0.1 * REST),
        (60.0, 6_000, 60.0, LONGEST_S),
    ],
)
def test_it_rests_while_there_are_requests(
    seconds: float, requests: int, took: float, rest: float
) -> None:
    clock = Clock()
    begun = 7
    pace = Pace(lambda: begun, clock)
    clock.now += seconds
    begun += requests
    assert pace.rest(took) == pytest.approx(rest)
    clock.now += 1.0
    assert pace.rest(took) == 0.0


async def test_an_import_beside_requests_goes_one_batch_at_a_time_and_comes_to_its_end(
    folder: Path,
) -> None:
    asked = 0

    def begun() -> int:
        nonlocal asked
        asked += 1_000
        return asked

    shelf = Shelf()
    async with running(folder, None, shelf, begun=begun) as here:
        job = await here.done(ndjson(range(1_000)))
    assert (job.status, job.written) == ("succeeded", 1_000)
    assert shelf.most_in_flight <= 2  # those that were on their way before the first rest


def test_the_speed_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    speed = Speed(clock)
    assert (speed.rate, speed.eta_s(100)) == (0.0, None)
    for second in range(60):
        speed.add(second * (1 if second < 30 else 10), second * 1_000)
        clock.now += 1.0
    assert speed.rate == pytest.approx(10.0)
    assert speed.eta_s(5_000) == pytest.approx(5.0)


async def test_while_it_runs_it_says_how_fast_and_how_long(folder: Path) -> None:
    shelf = Shelf()
    held = shelf.hold("4000")
    async with running(folder, None, shelf) as here:
        job = await here.send(ndjson(range(5_000)))
        async with asyncio.timeout(60):
            job = await here.until(job.id, lambda job: job.written > 3_000)
        assert job.rate > 0
        assert job.eta_s is not None
        assert job.eta_s > 0
        assert job.progress is not None
        assert 0.5 < job.progress < 0.9
        held.set()
        job = await here.ended(job.id)
        assert (job.progress, job.eta_s) == (1.0, None)
        assert job.rate > 0
