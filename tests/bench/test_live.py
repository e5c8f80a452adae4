"""The benchmarks of live results come to an end, and find nothing that must not be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.process import ROOT


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bench.typing", "--connections=2", "--seconds=1", "--blocked=0"], "out of order  0"),
        (["bench.progressive", "--queries=5", "--slow-ms=40"], "is the JSON answer: 5 of them"),
    ],
)
def test_it_is_as_it_should_be(arguments: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
