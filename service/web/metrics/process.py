"""The metrics of this process, under the names that all of Prometheus's clients give them.

prometheus_client's own collector needs /proc/stat, which the sandbox of our systemd unit hides
(`ProcSubset=pid`), and reports nothing without it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

PROC = Path("/proc/self")  # on Linux
PAGE_BYTES = resource.getpagesize()


class ProcessMetrics:
    """`proc` is the folder of the process; what it does not have is not reported."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._started_at = time.time()

    def families(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "Processor time of the process, of all its threads.",
            value=time.process_time(),
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            value=self._started_at,
        )
        with contextlib.suppress(OSError):
            pages = (self._proc / "statm").read_text().split()
            yield GaugeMetricFamily(
                "process_virtual_memory_bytes",
                "Virtual memory of the process.",
                value=int(pages[0]) * PAGE_BYTES,
            )
            yield GaugeMetricFamily(
                "process_resident_memory_bytes",
                "Resident memory of the process.",
                value=int(pages[1]) * PAGE_BYTES,
            )
        with contextlib.suppress(OSError):
            yield GaugeMetricFamily(
                "process_open_fds",
                "Open file descriptors.",
                value=len(os.listdir(self._proc / "fd")),  # noqa: PTH208 - of which it opens one
            )
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY:
            yield GaugeMetricFamily(
                "process_max_fds", "Most file descriptors that can be open.", value=limit
            )
