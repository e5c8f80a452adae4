"""The metrics of the process, with and without what the system says about it."""

from __future__ import annotations

import mmap
import os
import resource
import time
from pathlib import Path

from service.web.metrics.process import ProcessMetrics


def values(metrics: ProcessMetrics) -> dict[str, float]:
    return {sample.name: sample.value for family in metrics.families() for sample in family.samples}


def test_process_metrics_are_those_of_this_process() -> None:
    metrics = ProcessMetrics()
    before = values(metrics)
    block = mmap.mmap(-1, 64 << 20)  # new pages, not those of an object that was freed
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    with Path(os.devnull).open() as _:
        after = values(metrics)
        assert after["process_open_fds"] == before["process_open_fds"] + 1
    grown = after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
    assert grown > len(block) / 2
    assert after["process_virtual_memory_bytes"] > after["process_resident_memory_bytes"]
    assert 0 < before["process_cpu_seconds_total"] < after["process_cpu_seconds_total"]
    assert after["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 0 <= time.time() - after["process_start_time_seconds"] < 60


def test_process_metrics_without_proc_report_the_rest(tmp_path: Path) -> None:
    assert values(ProcessMetrics(tmp_path)).keys() == {
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_max_fds",
    }
