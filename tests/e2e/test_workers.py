"""Several processes on one port: the supervisor replaces dead workers, and stops all."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx

from tests.e2e.load import PATH, load
from tests.e2e.process import serving
from tests.upstream import Delay, Status, Upstream


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_killed_worker_is_replaced_while_other_serves(upstream: Upstream) -> None:
    upstream.behave(Delay(0.01), "dense")
    with serving(upstream, WEB_CONCURRENCY=2) as (process, address):
        before = set(process.children())
        assert len(before) == 2
        async with asyncio.timeout(60), load(address, 8) as running:
            await running.until("200", 100)
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            pings = upstream_pings(upstream)
            await running.until("200", running.outcomes["200"] + 100)
            await upstream.until(lambda: upstream_pings(upstream) == pings + 4)
            await running.until("200", running.outcomes["200"] + 100)
        # Only the killed worker's requests were lost: at most one per client.
        assert sum(running.dropped.values()) <= 8
        assert len(process.children()) == 2
        assert victim not in process.children()
        assert f"worker {victim} ended" in process.log()


def upstream_pings(upstream: Upstream) -> int:
    return sum(call.path == "/describe_index_stats" for call in upstream.calls)


async def test_sigterm_to_process_group_drops_no_request(upstream: Upstream) -> None:
    upstream.behave(Delay(0.01), "dense")
    with serving(upstream, WEB_CONCURRENCY=2) as (process, address):
        workers = process.children()
        async with asyncio.timeout(60), load(address, 16, keep_alive=False) as running:
            await running.until("200", 300)
            for _ in range(3):
                process.signal_group(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        assert running.dropped == {}
        assert not any(is_alive(pid) for pid in workers)


async def test_sigterm_to_supervisor_stops_workers(upstream: Upstream) -> None:
    with serving(upstream, WEB_CONCURRENCY=2) as (process, address):
        upstream.behave(Delay(1.0), "dense")
        workers = process.children()
        async with httpx.AsyncClient(base_url=address) as client:
            requests = [asyncio.create_task(client.get(f"{PATH}+{n}")) for n in range(8)]
            await upstream.until(lambda: len(upstream.searches()) == 8)
            process.popen.send_signal(signal.SIGTERM)
            assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
        assert await asyncio.to_thread(process.wait) == 0
        assert not any(is_alive(pid) for pid in workers)


def test_workers_end_when_supervisor_is_killed(upstream: Upstream) -> None:
    with serving(upstream, WEB_CONCURRENCY=2) as (process, _):
        workers = process.children()
        process.popen.kill()
        process.wait()
        end = time.monotonic() + 60
        while any(is_alive(pid) for pid in workers):
            assert time.monotonic() < end, "a worker still runs without its supervisor"
            time.sleep(0.02)


def test_supervisor_exits_with_1_when_no_worker_can_start(upstream: Upstream) -> None:
    with serving(upstream, WEB_CONCURRENCY=2) as (process, _):
        upstream.behave(Status(401), "dense")
        for pid in process.children():
            os.kill(pid, signal.SIGKILL)
        assert process.wait() == 1
        assert "no worker is left" in process.log()
