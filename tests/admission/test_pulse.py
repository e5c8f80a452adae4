"""A loop that is kept from its timers is seen to be late."""

from __future__ import annotations

import asyncio
import time

from service.admission.pulse import TICK_S, Beat, Pulse


async def test_a_loop_that_is_kept_busy_is_late_and_busy() -> None:
    beats: list[Beat] = []
    seen = asyncio.Event()

    def on_beat(beat: Beat) -> bool:
        beats.append(beat)
        seen.set()
        return False

    pulse = Pulse(on_beat)
    pulse.start()
    while not seen.is_set():
        until = time.thread_time() + 5 * TICK_S
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0)
    (beat,) = beats
    assert beat.late_s > TICK_S
    assert beat.busy > 0.8
    assert beat.seconds > 10 * TICK_S


async def test_nobody_looks_when_nobody_is_interested() -> None:
    beats: list[Beat] = []
    enough = asyncio.Event()

    def on_beat(beat: Beat) -> bool:
        beats.append(beat)
        if len(beats) == 2:
            enough.set()
        return len(beats) < 2

    pulse = Pulse(on_beat)
    pulse.start()
    pulse.start()
    await enough.wait()
    assert pulse._timer is None
    pulse.start()
    pulse.stop()
    assert pulse._timer is None
