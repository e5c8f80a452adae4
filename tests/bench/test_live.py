"""The benchmarks of live results run to the end and find no failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.process import ROOT


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["bench.typing", "--connections=2", "--seconds=1", "--blocked=0"], "out of order  0"),
        (["bench.progressive", "--queries=5", "--slow-ms=40"], "equals the JSON response: 5 of 5"),
    ],
)
def test_benchmark_of_live_results_finds_no_failure(arguments: list[str], printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
