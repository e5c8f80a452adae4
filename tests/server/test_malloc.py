"""Freed memory returns to the system, also if a block above it is still in use."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE_RSS = """
import random, threading
from service.server import malloc

def resident_mib():
    with open("/proc/self/status") as status:
        return int(status.read().partition("RssAnon:")[2].split()[0]) / 1024

def allocate_with_gaps():
    blocks = [bytes(random.randint(1_000, 20_000)) for _ in range(10_000)]
    kept.append(blocks[::100])

malloc.tune()
kept = []
before = resident_mib()
threads = [threading.Thread(target=allocate_with_gaps) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
full = resident_mib()
malloc.trim()
print(before, full, resident_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_trim_returns_gaps_between_used_blocks() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE_RSS], check=True, capture_output=True, text=True
    ).stdout
    before, full, after = map(float, printed.split())
    assert full - before > 50, "glibc kept no freed memory, so there is nothing to trim"
    assert after - before < (full - before) / 4
