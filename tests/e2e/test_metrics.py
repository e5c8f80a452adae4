"""`/metrics` of a running service: it adds up over all workers, and answers under overload."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import websockets

from tests.e2e.process import serving, serving_offline
from tests.programs import find_program
from tests.upstream import Flaky, Gate, Status, Upstream
from tests.web.metrics.samples import Samples

CLIENTS = 6
REQUESTS = "cascade_http_request_duration_seconds"
STAGES = "cascade_search_stage_duration_seconds"
TARGETS = (
    ("GET", "/api/semantic-search?text_query=cat+{n}", "/api/semantic-search"),
    ("GET", "/api/lexical-search?text_query=cat+{n}", "/api/lexical-search"),
    ("GET", "/api/cascading-retrieval?text_query=cat+{n}", "/api/cascading-retrieval"),
    ("GET", "/api/semantic-search?text_query=", "/api/semantic-search"),
    ("GET", "/api/records/cat-{n}", "/api/records/{record_id}"),
    ("GET", "/nowhere/{n}", "unmatched"),
    ("PUT", "/api/records", "/api/records"),
    ("BREW", "/api/stats", "/api/stats"),
)
METHODS = {"BREW": "other"}

Labels = tuple[str, str, str]
"""Route, method and status."""


async def scrape_both(client: httpx.AsyncClient) -> Samples:
    """The metrics of both workers, of which one may have been too busy to answer the other."""
    async with asyncio.timeout(60):
        while (samples := await scrape(client)).sum("cascade_worker_up") < 2:
            pass
    return samples


def requests(samples: Samples) -> Counter[Labels]:
    """The number of requests by their labels, without the scrapes."""
    counts: Counter[Labels] = Counter()
    for labels in samples.labels(f"{REQUESTS}_count"):
        if labels["route"] != "/metrics":
            key = (labels["route"], labels["method"], labels["status"])
            counts[key] += int(samples.sum(f"{REQUESTS}_count", **labels))
    return counts


def workers(samples: Samples) -> set[str]:
    """The workers that have answered a search."""
    return {labels["worker"] for labels in samples.labels(f"{STAGES}_count")}


async def scrape(client: httpx.AsyncClient) -> Samples:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return Samples(response.text)


async def test_metrics_of_two_workers_add_up_to_what_was_sent(upstream: Upstream) -> None:
    """Scraped all the while; each request has a connection of its own, to either worker."""
    sent: Counter[Labels] = Counter()
    with serving(upstream, WEB_CONCURRENCY=2) as (_, address):
        upstream.behave(Flaky(Status(400), times=20), "sparse")
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:

            async def send(first: int, end: int) -> None:
                for n in range(first, end, CLIENTS):
                    method, path, route = TARGETS[n % len(TARGETS)]
                    url, closed = path.format(n=n), {"Connection": "close"}
                    response = await client.request(method, url, headers=closed)
                    label = METHODS.get(method, method)
                    sent[route, label, str(response.status_code)] += 1

            running = [asyncio.create_task(send(first, 200)) for first in range(CLIENTS)]
            seen = 0.0
            while not all(task.done() for task in running):
                count = (await scrape_both(client)).sum(f"{REQUESTS}_count")
                assert count >= seen, "a counter went backwards"
                seen = count
            await asyncio.gather(*running)
            samples = await scrape_both(client)
            async with asyncio.timeout(60):
                while workers(samples) != {"1", "2"}:  # until both have answered requests
                    await asyncio.gather(*(send(first, CLIENTS) for first in range(CLIENTS)))
                    samples = await scrape_both(client)
    assert requests(samples) == sent
    assert sum(sent.values()) >= 200
    assert samples.sum(f"{REQUESTS}_bucket", le="+Inf") == samples.sum(f"{REQUESTS}_count")
    for route, mode in ((TARGETS[0][2], "semantic"), (TARGETS[2][2], "cascading")):
        stages = samples.sum(f"{STAGES}_count", mode=mode, stage="semantic")
        assert stages == sent[route, "GET", "200"] > 0
    degraded = samples.sum("cascade_search_degraded_total", missing="lexical")
    failed = {"mode": "cascading", "stage": "lexical", "status": "failed"}
    assert degraded == samples.sum(f"{STAGES}_count", **failed) > 0
    reranks = samples.sum(f"{STAGES}_count", stage="rerank")
    assert samples.sum("cascade_search_rerank_units_total", mode="cascading") == reranks > 0


async def test_metrics_of_replaced_worker_start_anew(upstream: Upstream, tmp_path: Path) -> None:
    with serving(upstream, WEB_CONCURRENCY=2, TMPDIR=tmp_path) as (process, address):
        (folder,) = os.scandir(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        victim = min(process.children())
        os.kill(victim, signal.SIGKILL)
        up = 0.0
        async with asyncio.timeout(60):
            while up < 2 or victim in process.children():
                async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                    try:
                        up = (await scrape(client)).sum("cascade_worker_up")
                    except httpx.TransportError:  # the connection was to the killed worker
                        continue
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
        assert list(os.scandir(tmp_path)) == []


async def test_metrics_answer_under_overload_and_count_rejections(upstream: Upstream) -> None:
    gate = Gate()
    path = "/api/semantic-search?text_query=cat"
    with serving(upstream, MAX_IN_FLIGHT=1, MAX_WAITING=0) as (_, address):
        upstream.behave(gate, "dense")
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            admitted = asyncio.create_task(client.get(path))
            await upstream.until(lambda: len(upstream.searches()) == 1)
            rejected = [await client.get(path) for _ in range(3)]
            samples = await scrape(client)
            gate.opened.set()
            assert (await admitted).status_code == 200
    assert [each.status_code for each in rejected] == [503] * 3
    route = "/api/semantic-search"
    assert samples.sum(f"{REQUESTS}_count", route=route, method="GET", status="503") == 3
    assert samples.sum("cascade_admission_rejected_total") == 3
    assert samples.sum("cascade_admission_slots_in_use") == 1
    assert samples.sum("cascade_admission_slots_limit") == 1
    assert samples.sum("cascade_http_requests_in_progress", route=route) == 1


async def test_metrics_report_open_websockets_and_streams(upstream: Upstream) -> None:
    gate = Gate()
    stream_path = "/api/cascading-retrieval/stream"
    with serving(upstream) as (_, address):
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            upstream.behave(gate, "sparse")
            async with (
                websockets.connect(f"{address.replace('http', 'ws')}/api/search/ws"),
                client.stream("GET", f"{stream_path}?text_query=cat") as stream,
            ):
                assert stream.status_code == 200
                samples = await scrape(client)
                for route in (stream_path, "/api/search/ws"):
                    assert samples.sum("cascade_http_requests_in_progress", route=route) == 1
                gate.opened.set()
                await stream.aread()
            async with asyncio.timeout(60):
                while samples.sum("cascade_http_requests_in_progress") > 1:  # the scrape
                    samples = await scrape(client)
    assert samples.sum(f"{REQUESTS}_count", route="/api/search/ws", status="101") == 1
    assert samples.sum(f"{REQUESTS}_count", route=stream_path, status="200") == 1


def test_promtool_accepts_metrics(tmp_path: Path, upstream: Upstream) -> None:
    promtool = find_program("promtool", "it checks the metrics")
    with (
        serving_offline(tmp_path) as (_, offline),
        serving(upstream, WEB_CONCURRENCY=2) as (
            _,
            address,
        ),
    ):
        for url in (offline, address):
            httpx.get(f"{url}/api/cascading-retrieval?text_query=cat").raise_for_status()
            text = httpx.get(f"{url}/metrics").text
            command = [promtool, "check", "metrics"]
            checked = subprocess.run(
                command, check=False, input=text, capture_output=True, text=True
            )
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
