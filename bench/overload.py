"""The service under far more load than it can answer: `python -m bench.overload`.

Measures the capacity (64 requests in flight), then runs crowds: 10 and 40 times as many clients
that honor Retry-After, and 40 times as many that retry at once. Meanwhile /healthz is requested
every 100 ms over a new connection, like a health check of a supervisor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.cascade import started
from bench.command import end_on_signals
from bench.crowd import SHARES
from bench.figures import Rounds, percentile
from bench.lanes import TARGET
from bench.measuring import measure, refuse_unless_found
from bench.processes import ROOT, Failed, Process, environment

PEAK_IN_FLIGHT = 64
CROWDS = ((640, False), (2560, False), (2560, True))
PROBE_EVERY_S = 0.1
PROBE_TIMEOUT_S = 5.0
GRACE_S = 30.0  # for the generator to end
PROBE = b"GET /healthz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n"


@dataclass
class Watched:
    """Health checks and memory during a crowd."""

    took_ms: list[float] = field(default_factory=list)
    failed: int = 0
    memory_mib: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


async def probe(port: int, watched: Watched) -> None:
    """Request /healthz once."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(PROBE)
                answer = await reader.read()
            finally:
                writer.close()
    except OSError:  # includes TimeoutError
        watched.failed += 1
        return
    watched.took_ms.append(1000 * (time.perf_counter() - began))
    watched.failed += not answer.startswith(b"HTTP/1.1 200")


async def watch(process: Process, watched: Watched) -> None:
    """Probe /healthz and sample memory until cancelled."""
    async with asyncio.TaskGroup() as probes:
        while True:
            probes.create_task(probe(process.port, watched))
            watched.memory_mib.append(process.memory_mib())
            await asyncio.sleep(PROBE_EVERY_S)


async def overload(
    process: Process, clients: int, seconds: int, *, rude: bool
) -> tuple[Any, Watched]:
    """The summary of a crowd, and the probes beside it."""
    watched = Watched()
    arguments = ["--clients", str(clients), "--seconds", str(seconds), *(["--rude"] * rude)]
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.crowd", process.url + TARGET, *arguments),
        env=environment({}),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    watching = asyncio.create_task(watch(process, watched))
    before = process.cpu_seconds()
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            await asyncio.sleep(seconds)
            watched.cpu_s = process.cpu_seconds() - before
            printed, _ = await crowd.communicate()
    except TimeoutError:
        raise Failed("the load generator did not finish") from None
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if crowd.returncode is None:
            crowd.kill()
            await crowd.wait()
    if crowd.returncode:
        raise Failed(f"the load generator exited with status {crowd.returncode}")
    return json.loads(printed), watched


def peak(process: Process, seconds: int) -> Rounds:
    """Measure the capacity without a queue."""
    rounds = Rounds()
    measure(process, TARGET, PEAK_IN_FLIGHT, seconds, rounds)
    return rounds


def report(
    clients: int, rude: bool, seconds: int, peaks: list[Rounds], seen: Any, by: Watched
) -> int:
    """Print the results; returns the number of failures."""
    answers = seen["answers"]
    nothing = {"per_s": 0.0, "in_each_s": [0], "ms": [0.0] * len(SHARES)}
    accepted, refused = answers.pop("200", nothing), answers.pop("503", nothing)
    at_best = sum(each.results[0].requests_per_s for each in peaks) / len(peaks)
    cpu_at_best = sum(each.cpu_ms for each in peaks) / len(peaks)
    cpu_ms = 1000 * by.cpu_s / max(sum(accepted["in_each_s"]), 1)
    probes = sorted(by.took_ms)
    manners = "come back at once" if rude else "wait as they are told"
    print(f"\n{clients} clients that {manners}, {seconds} s")
    print(
        f"  answered    {accepted['per_s']:.0f}/s, {accepted['per_s'] / at_best:.0%} of the "
        f"{at_best:.0f}/s beside it; CPU for each {cpu_ms:.2f} ms, was {cpu_at_best:.2f} ms\n"
        f"              {_ms(accepted['ms'])}; in the worst second {min(accepted['in_each_s'])}\n"
        f"  rejected    {refused['per_s']:.0f}/s; {_ms(refused['ms'])}\n"
        f"  /healthz    {len(probes)} answers, {by.failed} failures; "
        f"{_ms([percentile(probes, share) for share in SHARES])}\n"
        f"  memory      {by.memory_mib[0]:.0f} MiB before, {max(by.memory_mib):.0f} MiB peak, "
        f"{by.memory_mib[-1]:.0f} MiB at the end"
    )
    for status, other in answers.items():
        print(f"  status {status}  {other['per_s']:.1f}/s")
    if seen["broken"]:
        print(f"  broken      {seen['broken']}")
    if seen["without_retry_after"]:
        print(f"  rejected without Retry-After: {seen['without_retry_after']}")
    return int(by.failed + seen["without_retry_after"] + len(answers))


def _ms(percentiles: Sequence[float]) -> str:
    return (
        ", ".join(
            f"p{share:.0%} {ms:.1f}".replace("%", "").replace("p100", "most")
            for share, ms in zip(SHARES, percentiles, strict=True)
        )
        + " ms"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload")
    parser.add_argument("--seconds", type=int, default=30, help="duration of each crowd")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="delay of the upstream")
    parser.add_argument("--peak-seconds", type=int, default=5)
    options = parser.parse_args(arguments)
    end_on_signals()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, upstream "
        f"{options.delay_ms:g} ms, peak at {PEAK_IN_FLIGHT} in flight",
        flush=True,
    )
    wrong = 0
    try:
        with started("--delay-ms", str(options.delay_ms)) as (process, _):
            refuse_unless_found(process, TARGET)
            measure(process, TARGET, PEAK_IN_FLIGHT, 1.5, Rounds())
            before = peak(process, options.peak_seconds)
            for clients, rude in CROWDS:
                seen, watched = uvloop.run(overload(process, clients, options.seconds, rude=rude))
                after = peak(process, options.peak_seconds)
                wrong += report(clients, rude, options.seconds, [before, after], seen, watched)
                before = after
    except Failed as exc:
        print(f"bench.overload: {exc}", file=sys.stderr)
        return 1
    if wrong:
        print("bench.overload: a probe failed, or a response was unexpected", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
