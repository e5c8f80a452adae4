"""The short form of the campaign in which clients hold connections."""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.connections import campaign
from tests.campaigns.holding_clients import Counts
from tests.e2e.process import serving_offline


async def test_searches_are_answered_while_clients_hold_connections(tmp_path: Path) -> None:
    counts = Counts(slow_heads=30, slow_bodies=30, never_read=5, idle=100)
    with serving_offline(tmp_path) as (process, address):
        outcome = await campaign(process, address, counts, seconds=0.5, memory_timeout_s=0)
        log = process.log()
    for latencies in (outcome.before, outcome.held, outcome.after):
        assert latencies.search_ms
        assert latencies.healthz_ms
    assert outcome.memory_mb[2] > 0
    assert "Traceback" not in log
