"""The monitor reports how late and busy the event loop is."""

from __future__ import annotations

import asyncio
import time

from service.admission.loop_monitor import TICK_S, LoopMonitor, LoopSample


async def test_sample_of_blocked_loop_is_late_and_busy() -> None:
    samples: list[LoopSample] = []
    seen = asyncio.Event()

    def on_sample(sample: LoopSample) -> bool:
        samples.append(sample)
        seen.set()
        return False

    monitor = LoopMonitor(on_sample)
    monitor.start()
    while not seen.is_set():
        until = time.thread_time() + 5 * TICK_S
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0)
    (sample,) = samples
    assert sample.late_s > TICK_S
    assert sample.busy > 0.8
    assert sample.seconds > 10 * TICK_S


async def test_monitor_stops_when_callback_returns_false() -> None:
    samples: list[LoopSample] = []
    enough = asyncio.Event()

    def on_sample(sample: LoopSample) -> bool:
        samples.append(sample)
        if len(samples) == 2:
            enough.set()
        return len(samples) < 2

    monitor = LoopMonitor(on_sample)
    monitor.start()
    monitor.start()
    await enough.wait()
    assert monitor._timer is None
    monitor.start()
    monitor.stop()
    assert monitor._timer is None
