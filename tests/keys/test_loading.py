"""Modules that need SQLAlchemy, loaded by imports and keys at the same time."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio
from service.database.loading import load

async def main():
    await asyncio.gather(load("service.keys.opening"), load("service.jobs.store"))

asyncio.run(main())
"""


def test_modules_can_be_loaded_at_the_same_time() -> None:
    """In a new process, where nothing has imported them before."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", PROGRAM], check=True)
