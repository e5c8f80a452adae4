"""What was freed goes back to the system, also where something behind it is still in use."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLDS = """
import random, threading
from service.server import malloc

def held():
    with open("/proc/self/status") as status:
        return int(status.read().partition("RssAnon:")[2].split()[0]) / 1024

def scatter():
    blocks = [bytes(random.randint(1_000, 20_000)) for _ in range(10_000)]
    kept.append(blocks[::100])

malloc.tune()
kept = []
before = held()
threads = [threading.Thread(target=scatter) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
full = held()
malloc.trim()
print(before, full, held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_gaps_between_what_is_in_use_are_given_back() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", HOLDS], check=True, capture_output=True, text=True
    ).stdout
    before, full, after = map(float, printed.split())
    assert full - before > 50, "nothing was kept, so nothing is shown"
    assert after - before < (full - before) / 4
