"""A process that is killed during writes loses no acknowledged write."""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.kill import campaign


def test_views_contain_acknowledged_writes_after_repeated_sigkill(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, kills=4, records=400, check_every=2, seed=7)
    assert outcome.acknowledged
