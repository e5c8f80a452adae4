"""The benchmarks of search as you type and of streams run and report no failure."""

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
    completed = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert printed in completed.stdout
