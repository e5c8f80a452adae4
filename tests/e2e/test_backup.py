"""Backups of a service that runs, or was killed."""

from __future__ import annotations

import signal
from pathlib import Path

from service.client import SearchClient
from tests.campaigns.backup import campaign
from tests.e2e.command import run
from tests.e2e.process import serving_offline


def test_backups_beside_writers_have_every_acknowledged_write(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, rounds=2, records=200, writers=2, seed=5)
    assert outcome.rounds == 2
    assert outcome.acknowledged


def test_backup_has_the_writes_of_a_killed_service(tmp_path: Path) -> None:
    """They are in the write-ahead log only."""
    with serving_offline(tmp_path / "var", LOAD_SAMPLES="false") as (process, url):
        with SearchClient(url) as client:
            client.upsert([{"_id": "tea", "chunk_text": "Green tea tastes best below boiling"}])
        process.signal_group(signal.SIGKILL)
        process.wait()
    for data_dir, name in ((tmp_path / "var", "1"), (tmp_path / "1", "2")):
        done = run("backup", tmp_path / f"{name}.backup", DATA_DIR=data_dir)
        assert done.stdout.startswith("backed up 1 record ("), done.stderr
        run("restore", tmp_path / f"{name}.backup", DATA_DIR=tmp_path / name)
    with serving_offline(tmp_path / "2") as (_, url), SearchClient(url) as client:
        assert client.get("tea")["chunk_text"].startswith("Green tea")
